"""Statements that end after a time: what a page looks for may be anywhere, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

# SQLite asks after this number of its steps whether to go on.
STEPS = 5_000


class OutOfTime(Exception):
    """The statement was stopped."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Stop the statements of the block after this time. Raises OutOfTime."""
    if seconds <= 0:
        raise OutOfTime
    bound = _on_postgresql if connection.vendor == "postgresql" else _on_sqlite
    with bound(seconds) as is_over:
        try:
            yield
        except OperationalError as error:
            if not is_over():
                raise
            raise OutOfTime from error


@contextmanager
def _on_postgresql(seconds: float) -> Iterator[Callable[[], bool]]:
    ends_at = time.monotonic() + seconds
    with transaction.atomic():
        _limit(f"{max(round(seconds * 1000), 1)}ms")
        yield lambda: time.monotonic() >= ends_at - 0.01
        _limit("0")


def _limit(timeout: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [timeout])


@contextmanager
def _on_sqlite(seconds: float) -> Iterator[Callable[[], bool]]:
    ends_at = time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() >= ends_at

    connection.ensure_connection()
    connection.connection.set_progress_handler(is_over, STEPS)
    try:
        yield is_over
    finally:
        connection.connection.set_progress_handler(None, 0)
