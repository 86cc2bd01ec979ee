import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError

T = TypeVar("T")

# Seconds.
PATIENCE = 120.0


def wait_for(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """Return the condition's first true value; fail when there is none in time.

    The machine may be busy with other programs: no deadline is shorter than `PATIENCE`.
    """
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    began = time.thread_time()
    while not (value := unless_locked(condition)):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        # A look that costs much is taken less often: it takes time from what it waits for.
        time.sleep(min(max(0.02, 3 * (time.thread_time() - began)), 0.2))
        began = time.thread_time()
    return value


def unless_locked(condition: Callable[[], T]) -> T | None:
    """Return what it says; None where another thread is writing what it reads.

    For such a one SQLite does not wait in the database in memory that tests have.
    """
    try:
        return condition()
    except OperationalError as error:
        if "table is locked" not in str(error):
            raise
        return None
