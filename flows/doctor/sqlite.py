"""The file of SQLite: its settings, its log, its free pages, and the disk that it is on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.db import connection

from flows.doctor.findings import Finding, error, graded, ok, size
from flows.doctor.machine import disk
from flows.store import store
from flows.store.clock import in_memory

# A log of this size is no longer copied into the file: a reader has been at it for long.
LONG_LOG = 256 * 1024**2
VERY_LONG_LOG = 4 * 1024**3
# Where most of a file of this size is free, a VACUUM is worth its time.
MOSTLY_FREE = 0.7
BIG_FILE = 512 * 1024**2


def version() -> str:
    return f"SQLite {sqlite3.sqlite_version}"


def inside() -> Iterator[Finding]:
    name = str(connection.settings_dict["NAME"])
    if in_memory(name):
        yield error(
            "database file",
            "The database is in memory: no other process sees it, and it ends with this one.",
            "Set DATABASE_URL to a file, or to PostgreSQL.",
        )
        return
    yield from _settings()
    yield _free_pages(_pragma("page_count"), _pragma("freelist_count"), _pragma("page_size"))
    with suppress(FileNotFoundError):
        yield log(Path(f"{name}-wal").stat().st_size)
    yield disk("disk of the database", Path(name).parent)


ADVICE = "Set DATABASES by asyncengine.environment.database(URL), which has all options."


def _pragma(name: str) -> int:
    [(value,)] = store().database.query(f"PRAGMA {name}")
    return int(value)


def _settings() -> Iterator[Finding]:
    [(mode,)] = store().database.query("PRAGMA journal_mode")
    if mode != "wal":
        yield error(
            "journal mode",
            f"The journal mode is {mode}: readers keep writers waiting.",
            ADVICE,
        )
    if _pragma("synchronous") < 1:
        yield error(
            "durability",
            "`synchronous` is off: what was accepted is lost, or the file broken, with the power.",
            ADVICE,
        )


def _free_pages(pages: int, free: int, page_size: int) -> Finding:
    share = free / pages if pages else 0.0
    seen = f"The file has {size(pages * page_size)}, and {share:.0%} of it are free."
    if pages * page_size < BIG_FILE:
        return ok("bloat", seen)
    advice = "Stop the workers and run VACUUM where the disk needs the room."
    return graded("bloat", share, MOSTLY_FREE, 2.0, seen, advice)


def log(count: int) -> Finding:
    seen = f"The write-ahead log has {size(count)}."
    advice = "A process reads for long and keeps it from being copied: find and end that one."
    return graded("write-ahead log", count, LONG_LOG, VERY_LONG_LOG, seen, advice)
