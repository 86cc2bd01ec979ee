"""Threads with connections of their own, for tests of what they do to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from tests.databases import is_postgresql

# SQLite has one writer, and the database of the tests is in the memory of one thread.
side_by_side = pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")


def at_the_same_time(*calls: Callable[[], object], seconds: float = 60) -> list[Exception]:
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
