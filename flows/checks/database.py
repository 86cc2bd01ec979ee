"""Checks of the database: `check --database default`, `check --deploy` and `migrate` run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, InterfaceError, connection

from flows.store.listener import direct_database

# Identifies the database and its server.
WHICH = "SELECT current_database(), pg_postmaster_start_time()"


@register(Tags.database)
def database_fits(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the database if the command asks for that. A database out of reach is a warning."""
    if not databases or connection.vendor != "postgresql":
        return []
    try:
        return [*encoding(), *way_past_the_pooler()]
    except (DatabaseError, InterfaceError) as error:
        text = f"The database could not be checked: {error}".strip()
        return [Warning(text, id="flows.W003")]


@register(deploy=True)
def database_fits_in_production(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check the database as `check --database` does, since that option is easily forgotten."""
    return [] if databases else database_fits(databases=["default"])


def encoding() -> Iterator[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (found,) = cursor.fetchone()
    if found != "UTF8":
        yield Error(
            f"The database has the encoding {found}: it cannot store every text that callers send.",
            hint="Create it with ENCODING 'UTF8'.",
            id="flows.E001",
        )


def way_past_the_pooler() -> Iterator[CheckMessage]:
    """Find a pooler that keeps notifications from workers, and a wrong DATABASE_DIRECT_URL."""
    connection.ensure_connection()
    is_pooled: bool = getattr(connection, "is_pooled", False)
    if settings.ASYNCENGINE_DIRECT_DATABASE is None:
        if is_pooled:
            yield Warning(
                "A pooler stands before the database: workers may not be notified of new messages,"
                " and look for them every `pollingMs`.",
                hint="Set DATABASE_DIRECT_URL to the database without the pooler.",
                id="flows.W004",
            )
        return
    direct = direct_database()
    with connection.cursor() as cursor:
        cursor.execute(WHICH)
        here = cursor.fetchone()
    try:
        with direct.cursor() as cursor:
            cursor.execute(WHICH)
            there = cursor.fetchone()
        leads_past = not direct.is_pooled
    finally:
        direct.close()
    if here != there:
        yield Error(
            "DATABASE_DIRECT_URL and DATABASE_URL name two databases.",
            hint="Both must lead to the same database, one of them without the pooler.",
            id="flows.E002",
        )
    elif not leads_past:
        yield Warning(
            "DATABASE_DIRECT_URL leads through a pooler, too: workers may not be notified.",
            hint="Set it to the database without the pooler.",
            id="flows.W005",
        )
