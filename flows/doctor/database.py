"""What the database is, whether it can be written, and whether it is migrated."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import ERROR, CheckMessage, run_checks
from django.db import connection

from flows.doctor import postgresql, sqlite
from flows.doctor.findings import Finding, error, ok, warning
from flows.monitoring.migrations import unapplied_migrations
from flows.store import store

# Those of keys and of the sandbox have findings of their own.
SAID_ELSEWHERE = ("flows.W001", "flows.W002", "scripts.W001")


def reached() -> Finding:
    """Raises what the database raises where it is out of reach."""
    version = postgresql.version() if connection.vendor == "postgresql" else sqlite.version()
    if reason := store().database.unwritable():
        advice = (
            "Free the disk, give the files to the user of the process, or point DATABASE_URL at the"
            " server that takes writes."
        )
        return error("database", f"{version}. {reason}", advice)
    return ok("database", f"{version}; it can be written.")


def migrations() -> Finding:
    missing = unapplied_migrations()
    if not missing:
        return ok("migrations", "All are applied.")
    return error(
        "migrations",
        f"{len(missing)} are not applied, the first is {missing[0]}.",
        "Run: python manage.py migrate",
    )


def checks() -> Iterator[Finding]:
    """Return what the engine's own checks say, of `check --deploy` and of the database."""
    messages = run_checks(include_deployment_checks=True, databases=["default"])
    own = [each for each in messages if _is_own(each)]
    for each in own:
        make = error if each.level >= ERROR else warning
        yield make(f"check {each.id}", each.msg, each.hint or "")
    if not own:
        yield ok("checks", "`manage.py check` has nothing to say about settings and database.")


def _is_own(message: CheckMessage) -> bool:
    owner = (message.id or "").split(".")[0]
    return owner in ("flows", "scripts") and message.id not in SAID_ELSEWHERE


def inside() -> Iterator[Finding]:
    """Examine what differs between the databases."""
    yield from (postgresql if connection.vendor == "postgresql" else sqlite).inside()
