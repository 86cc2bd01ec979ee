"""The tables of the raw path: messages with an index of those that wait, traces, and runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson

from flows.benchmark.names import new_prefix

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

CHUNK = 5_000
# Room on a page for the row as it is at the next step, so that no index changes.
WITH_ROOM = {"postgresql": " WITH (fillfactor = 40)", "sqlite": ""}
COLUMNS = {
    "postgresql": {"key": "bigserial", "uuid": "uuid", "at": "timestamptz", "now": "now()"},
    "sqlite": {"key": "integer", "uuid": "text", "at": "real", "now": "0"},
}


def tables_of(prefix: str) -> tuple[str, str, str]:
    """Return the names for messages, traces and runs."""
    return f"{prefix}_message", f"{prefix}_trace", f"{prefix}_run"


@contextmanager
def raw_tables(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Make the tables, yield the beginning of their names, and drop them."""
    prefix = new_prefix()
    try:
        with connection.cursor() as cursor:
            for statement in statements(prefix, connection.vendor):
                cursor.execute(statement)
        yield prefix
    finally:
        with connection.cursor() as cursor:
            for table in tables_of(prefix):
                cursor.execute(f"DROP TABLE IF EXISTS {table}")


def statements(prefix: str, vendor: str) -> list[str]:
    message, trace, run = tables_of(prefix)
    of = COLUMNS[vendor]
    return [
        f"CREATE TABLE {message} (id {of['key']} PRIMARY KEY, step integer NOT NULL,"
        f" run {of['uuid']} NOT NULL, body text NOT NULL, attempts integer NOT NULL DEFAULT 0,"
        f" available_at {of['at']} NOT NULL DEFAULT {of['now']}, lease {of['uuid']})"
        f"{WITH_ROOM[vendor]}",
        f"CREATE INDEX {message}_waiting ON {message} (step, available_at) WHERE lease IS NULL",
        f"CREATE TABLE {trace} (id {of['key']} PRIMARY KEY, run {of['uuid']} NOT NULL,"
        f" step integer, started_at {of['at']}, ms real, ok boolean)",
        f"CREATE INDEX {trace}_run ON {trace} (run)",
        f"CREATE TABLE {run} (id {of['uuid']} PRIMARY KEY, started_at {of['at']}"
        f" DEFAULT {of['now']}, finished_at {of['at']}, result text,"
        " status smallint NOT NULL DEFAULT 0)",
    ]


def fill(connection: BaseDatabaseWrapper, prefix: str, payloads: Iterator[object]) -> None:
    """Store a run with its first message for each payload."""
    message, _, run = tables_of(prefix)
    rows = []
    for payload in payloads:
        id = str(uuid.uuid4())
        rows.append((id, orjson.dumps({"correlationId": id, "payload": payload}).decode()))
    with connection.cursor() as cursor:
        for first in range(0, len(rows), CHUNK):
            chunk = rows[first : first + CHUNK]
            cursor.executemany(
                f"INSERT INTO {message} (step, run, body) VALUES (0, %s, %s)",
                chunk,
            )
            cursor.executemany(
                f"INSERT INTO {run} (id) VALUES (%s)",
                [(id,) for id, _ in chunk],
            )
