"""A commit that may have been made: it is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection

from flows.errors import CommitInDoubt, QueueFull, StartRateExceeded


@contextmanager
def settling(doubt: CommitInDoubt) -> Iterator[None]:
    """Repeat a commit that may have been made. The same ids, or the key, prevent a second run.

    If the lost transaction is still under way, this waits for its end. Raises the doubt again if
    the database is still lost.
    """
    connection.close()
    try:
        yield
    except (DatabaseError, InterfaceError, QueueFull, StartRateExceeded) as error:
        raise doubt from error
