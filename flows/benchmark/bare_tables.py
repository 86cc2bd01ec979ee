"""The tables of the bare view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from flows.benchmark.names import new_prefix

# The variable that tells the view the names of its tables.
PREFIX = "ASYNCENGINE_BENCH_TABLES"


@contextmanager
def bare_tables() -> Iterator[str]:
    """Make the tables, yield the beginning of their names, and drop them."""
    prefix = new_prefix()
    run, message = tables_of(prefix)
    on_postgresql = connection.vendor == "postgresql"
    kind, at = ("uuid", "timestamptz") if on_postgresql else ("char(32)", "datetime")
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {run} (id {kind} PRIMARY KEY, flow bigint, status varchar(16),"
                f" created_at {at})"
            )
            cursor.execute(f"CREATE INDEX {run}_flow ON {run} (flow, id)")
            cursor.execute(
                f"CREATE TABLE {message} (id {kind} PRIMARY KEY, queue bigint, body text,"
                f" available_at {at})"
            )
            cursor.execute(f"CREATE INDEX {message}_waiting ON {message} (queue, available_at)")
        yield prefix
    finally:
        with connection.cursor() as cursor:
            for table in (run, message):
                cursor.execute(f"DROP TABLE IF EXISTS {table}")


def tables_of(prefix: str) -> tuple[str, str]:
    return f"{prefix}_run", f"{prefix}_message"
