"""Settings, sessions, vacuum, write-ahead log and disk of PostgreSQL.

What a role may not see of other roles' sessions is left out, and the finding says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.doctor.findings import Finding, error, graded, ok, size, warning
from flows.doctor.machine import disk
from flows.store import store

OLDEST_VERSION = 14
# Each with its value, how bad another one is, and the consequence.
SETTINGS = (
    ("fsync", "on", error, "a crash of the machine breaks the database"),
    ("full_page_writes", "on", error, "a crash of the machine breaks the database"),
    ("synchronous_commit", "on", warning, "a crash of the server loses what was just accepted"),
    ("autovacuum", "on", error, "tables grow without end, and then the server stops"),
    ("track_counts", "on", error, "autovacuum does nothing"),
)
# Stricter values than "on".
AS_GOOD = {"remote_write", "remote_apply"}
DEAD_SHARE = 0.5
MANY_DEAD = 100_000
LONG_SECONDS = 15 * 60.0
VERY_LONG_SECONDS = 6 * 3600.0
# Of the ids of transactions there are 2.1 billion; at that age the server forces a vacuum.
OLD_IDS, VERY_OLD_IDS = 1_000_000_000, 1_800_000_000
FULL, VERY_FULL = 0.8, 0.95
MUCH_LOG, VERY_MUCH_LOG = 16 * 1024**3, 128 * 1024**3


def version() -> str:
    return f"PostgreSQL {_one('SHOW server_version')}"


def inside() -> Iterator[Finding]:
    yield from settings_of_server()
    yield connections_used()
    yield bloat()
    yield ids()
    yield long_transactions()
    yield from prepared_transactions()
    yield log()
    yield from archive()
    yield from disk_of_server()


def settings_of_server() -> Iterator[Finding]:
    number = int(_one("SHOW server_version_num")) // 10_000
    if number < OLDEST_VERSION:
        advice = f"Upgrade it to {OLDEST_VERSION} or newer."
        yield warning("server version", f"PostgreSQL {number} gets no more fixes.", advice)
    for name, expected, make, consequence in SETTINGS:
        value = _one(f"SHOW {name}")
        if value != expected and value not in AS_GOOD:
            advice = f"Set {name} = {expected}."
            yield make(f"setting {name}", f"{name} is {value}: {consequence}.", advice)


def connections_used() -> Finding:
    [(used, most)] = _query(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::int"
    )
    seen = f"{used} of {most} connections are used."
    advice = "Raise max_connections, or put PgBouncer in transaction mode before the server."
    return graded("connections", used / most, FULL, VERY_FULL, seen, advice)


def bloat() -> Finding:
    """Find tables with more dead rows than vacuum should leave."""
    rows = _query(
        "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables"
        " WHERE n_dead_tup > %s AND n_dead_tup > n_live_tup * %s"
        " ORDER BY n_dead_tup DESC LIMIT 3",
        [MANY_DEAD, DEAD_SHARE],
    )
    if not rows:
        return ok("bloat", "No table has many dead rows.")
    tables = "; ".join(f"{name}: {dead:,} dead beside {live:,}" for name, live, dead in rows)
    advice = "See long transactions below; where there are none, run VACUUM (ANALYZE) on them."
    return warning("bloat", f"Vacuum is behind. {tables}.", advice)


def ids() -> Finding:
    age = int(_one("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"))
    seen = f"The oldest id of a transaction is {age:,} old."
    advice = "Run VACUUM (FREEZE), and see what keeps autovacuum from it."
    return graded("transaction ids", age, OLD_IDS, VERY_OLD_IDS, seen, advice)


def long_transactions() -> Finding:
    """Find what keeps vacuum from removing dead rows: transactions in other databases do not."""
    rows = _query(
        "SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), state,"
        " extract(epoch FROM clock_timestamp() - xact_start)::float8 FROM pg_stat_activity"
        " WHERE xact_start IS NOT NULL AND backend_type = 'client backend'"
        " AND datname = current_database() AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1"
    )
    hidden = "" if _sees_all() else " Those of other roles are not seen."
    if not rows:
        return ok("long transactions", f"No other transaction is open.{hidden}")
    pid, user, application, state, seconds = rows[0]
    by = f"{user} {application}".strip() or "unknown"
    seen = f"The oldest is {seconds:,.0f} s old: pid {pid}, {by}, {state}.{hidden}"
    advice = f"It holds back vacuum. End it: SELECT pg_terminate_backend({pid})"
    limits = (LONG_SECONDS, VERY_LONG_SECONDS)
    return graded("long transactions", seconds, *limits, seen, advice)


def prepared_transactions() -> Iterator[Finding]:
    for name, seconds in _query(
        "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8"
        " FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - interval '15 min'"
    ):
        yield warning(
            "prepared transaction",
            f"{name} has been prepared for {seconds:,.0f} s, and holds back vacuum.",
            "Decide on it: COMMIT PREPARED or ROLLBACK PREPARED.",
        )


def log() -> Finding:
    """Sum up the write-ahead log, or what slots hold of it where its files may not be listed."""
    kept = _query(
        "SELECT slot_name, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()"
        " THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::float8"
        " FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1"
    )
    slot, held = kept[0] if kept else ("", 0.0)
    by_slot = f" The slot {slot} holds {size(held)} of it." if slot else ""
    advice = "See what holds it: a replication slot without a reader, or a failing archive_command."
    if _one("SELECT has_function_privilege('pg_ls_waldir()', 'execute')"):
        count = float(_one("SELECT coalesce(sum(size), 0) FROM pg_ls_waldir()"))
        seen = f"It has {size(count)}.{by_slot}"
    else:
        count, seen = held, f"The role may not see its size (grant pg_monitor).{by_slot}"
    return graded("write-ahead log", count, MUCH_LOG, VERY_MUCH_LOG, seen, advice)


def archive() -> Iterator[Finding]:
    for (failed,) in _query(
        "SELECT last_failed_wal FROM pg_stat_archiver WHERE last_failed_time IS NOT NULL"
        " AND (last_archived_time IS NULL OR last_archived_time < last_failed_time)"
    ):
        seen = f"Archiving of the write-ahead log has failed, last with {failed}."
        yield error("archive", seen, "Repair archive_command: the log fills the disk.")


def disk_of_server() -> Iterator[Finding]:
    """Examine the disk of the data directory where the server is on this machine."""
    [(is_here, may_ask)] = _query(
        "SELECT inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8'"
        " OR inet_server_addr() = '::1', pg_has_role('pg_read_all_settings', 'usage')"
    )
    if not is_here or not may_ask:
        yield ok("disk of the database", "Not known here; see the machine of the server.")
        return
    # Its path alone: the directory is open to the server's own user.
    directory = Path(str(_one("SHOW data_directory")))
    existing = next(each for each in (directory, *directory.parents) if _is_seen(each))
    yield disk("disk of the database", existing)


def _is_seen(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _sees_all() -> bool:
    return bool(_one("SELECT pg_has_role('pg_read_all_stats', 'usage')"))


def _query(sql: str, params: list[Any] | None = None) -> list[Any]:
    return store().database.query(sql, params or [])


def _one(sql: str) -> Any:
    [(value,)] = _query(sql)
    return value
