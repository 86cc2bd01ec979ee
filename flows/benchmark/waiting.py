"""Wait for a condition of the database."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_SECONDS = 3_600


class BenchFailed(Exception):
    """The workload did not finish, or cannot run here."""


def wait_until(
    condition: Callable[[], bool], every: float = 0.02, seconds: float = DEADLINE_SECONDS
) -> None:
    """Raises BenchFailed when it does not come true in time."""
    if not became_true(condition, seconds, every):
        raise BenchFailed(f"not finished after {seconds:g} seconds")


def became_true(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
