"""The database, for services that reply in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

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
