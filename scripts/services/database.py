"""The database, for services that reply in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    connection,
    connections,
)

from scripts.protocol.services import Deadline, RequestFailed

_RETRY_SECONDS = 0.2
_T = TypeVar("_T")


def read_patiently(read: Callable[[], _T], deadline: Deadline) -> _T:
    """Read a value; try again while the database is away, until the deadline."""
    while True:
        try:
            return read()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block:
                raise
            connection.close()
            if time.monotonic() + _RETRY_SECONDS >= deadline:
                raise RequestFailed("The database is away.", "unavailable") from None
            time.sleep(_RETRY_SECONDS)


def let_go() -> None:
    """Close the connection of this thread, which may not need the database again.

    In a test a service runs in the test's own thread, within its transaction.
    """
    if connection.in_atomic_block:
        return
    connection.close()
    # Django leaves one to a database in memory open, as if it were the last: other threads have
    # theirs, and this one would end with its thread, which Python warns of.
    if (left := connection.connection) is not None:
        connection.connection = None
        left.close()


class OneConnection:
    """A connection that stays open for many short reads, by whichever thread, one at a time.

    To open one takes longer than to read a row, and one for each thread would be many.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._own: Any = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have this thread use it."""
        is_in_memory = getattr(connection, "is_in_memory_db", lambda: False)
        if connection.in_atomic_block or is_in_memory():
            # A test, whose data no other connection sees.
            try:
                yield
            finally:
                let_go()
            return
        with self._lock:
            before = connections[DEFAULT_DB_ALIAS]
            # Tests change the database.
            if self._own is None or self._own.settings_dict["NAME"] != before.settings_dict["NAME"]:
                self._own = before.copy()
                self._own.inc_thread_sharing()
            connections[DEFAULT_DB_ALIAS] = self._own
            try:
                yield
            finally:
                connections[DEFAULT_DB_ALIAS] = before

    def close(self) -> None:
        with self._lock:
            if self._own is not None:
                self._own.close()
