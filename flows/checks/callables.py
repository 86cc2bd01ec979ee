"""Checks that callables can run, and that the database connections of a project are safe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, InterfaceError

from scripts.checks import ENGINE
from scripts.dotted_path import callable_fault
from scripts.models import Language, Script

OWN_POSTGRESQL = "flows.postgresql"
POSTGRESQL = frozenset({"django.db.backends.postgresql", "django.contrib.gis.db.backends.postgis"})
# Options that end a connection when its network is gone, instead of waiting for ever.
NETWORK_GUARDS = ("connect_timeout", "keepalives_idle", "tcp_user_timeout")


@register(Tags.database)
def callables_are_there(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Resolve the function of each callable. Runs only in commands that check the database."""
    if not databases or "default" not in databases:
        return []
    try:
        scripts = list(
            Script.objects.filter(language=Language.CALLABLE).values_list("name", "code")
        )
    except (DatabaseError, InterfaceError):
        # There are no tables yet, or no database: another check reports that.
        return []
    return [
        # A warning: an error would stop `migrate`, and a corrected script could not be deployed.
        Warning(
            f"The callable {name!r} cannot run here. {fault}",
            hint="Its messages fail on this machine until its code is corrected or its module is"
            " there and allowed.",
            id="flows.W010",
        )
        for name, code in sorted(scripts)
        if (fault := callable_fault(code))
    ]


@register(ENGINE)
def connections_have_their_guards(**kwargs: Any) -> list[CheckMessage]:
    """Check the settings of the database alone, without a connection."""
    return faults_of(settings.DATABASES["default"])


def faults_of(database: dict[str, Any]) -> list[CheckMessage]:
    options: dict[str, Any] = database.get("OPTIONS") or {}
    engine = database["ENGINE"]
    if engine == "django.db.backends.sqlite3":
        return list(faults_of_sqlite(options))
    if engine == OWN_POSTGRESQL or engine in POSTGRESQL:
        return list(faults_of_postgresql(engine, options))
    return []


def faults_of_sqlite(options: dict[str, Any]) -> Iterator[CheckMessage]:
    if options.get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            "Transactions on SQLite do not begin with IMMEDIATE: when two processes write, one"
            " fails with `database is locked` in the middle of its transaction.",
            hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 30} of the database'
            " `default`, or use asyncengine.environment.database(URL).",
            id="flows.W006",
        )
    if not re.search(r"journal_mode\s*=\s*wal", str(options.get("init_command", "")), re.I):
        yield Warning(
            "Nothing sets SQLite's log to WAL: readers keep writers waiting, and writers readers.",
            hint='Set "init_command": "PRAGMA journal_mode=WAL" in OPTIONS of the database'
            " `default`, or use asyncengine.environment.database(URL).",
            id="flows.W019",
        )


def faults_of_postgresql(engine: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    if options.get("pool"):
        yield Error(
            "The database `default` uses psycopg's connection pool. Its threads do not survive the"
            " fork of the workers: workers hang and do not react to SIGTERM.",
            hint="Remove `pool` from OPTIONS. Workers keep their connections without it. Use"
            " PgBouncer for a web server with many threads.",
            id="flows.E003",
        )
    if engine != OWN_POSTGRESQL:
        yield Warning(
            f"The database `default` uses {engine}: its connections wait for ever if the server"
            " stops answering, a callable that changes its session costs a new connection, a"
            " commit in doubt looks like a failed one, and a queue that is full at the commit"
            " raises a plain DatabaseError, not QueueFull.",
            hint="Set ENGINE to flows.postgresql, or use asyncengine.environment.database(URL).",
            id="flows.W007",
        )
    elif "session_settings" not in options:
        yield Warning(
            "The sessions of the database `default` are not set up: they use the settings of their"
            " role and server (search_path, isolation, statement_timeout, jit …).",
            hint="Set session_settings in OPTIONS to"
            " flows.postgresql.session_settings.session_settings(''), or use"
            " asyncengine.environment.database(URL).",
            id="flows.W008",
        )
    if missing := [name for name in NETWORK_GUARDS if name not in options]:
        yield Warning(
            f"OPTIONS of the database `default` leave out {', '.join(missing)}: the loss of"
            " the network is noticed only after minutes or hours.",
            hint="Set them as asyncengine.environment.database(URL) does.",
            id="flows.W009",
        )
