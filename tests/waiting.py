import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds.
PATIENCE = 120.0


def wait_for(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """Return the condition's first true value; fail when there is none in time.

    The machine may be busy with other programs: no deadline is shorter than `PATIENCE`.
    """
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)
    return value
