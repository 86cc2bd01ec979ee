"""Threads with connections of their own, for tests of what they do to each other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from tests.databases import is_postgresql
from tests.waiting import PATIENCE

# SQLite has one writer, and the database of the tests is in the memory of one thread.
side_by_side = pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")


def at_the_same_time(
    *calls: Callable[[], object], seconds: float = 2 * PATIENCE
) -> list[Exception]:
    """Call them in threads with connections of their own; return what they have raised."""
    raised: list[Exception] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call], daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads)
    return raised


@contextmanager
def shared_database(directory: Path) -> Iterator[None]:
    """Have all threads use one database as processes do: on SQLite a copy in a file.

    The database of the tests on SQLite is in memory, where other locks hold than in files.
    """
    if connection.vendor != "sqlite":
        yield
        return
    own, path = connections[DEFAULT_DB_ALIAS], str(directory / "shared.sqlite3")
    own.ensure_connection()
    with closing(sqlite3.connect(path)) as file:
        own.connection.backup(file)
    in_memory, connections.databases[DEFAULT_DB_ALIAS]["NAME"] = own.settings_dict["NAME"], path
    connections[DEFAULT_DB_ALIAS] = other = own.copy()
    try:
        yield
    finally:
        other.close()
        connections.databases[DEFAULT_DB_ALIAS]["NAME"] = in_memory
        connections[DEFAULT_DB_ALIAS] = own
