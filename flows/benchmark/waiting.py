"""Wait for a condition of the database, or for the signal that ends the bench."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEADLINE_SECONDS = 3_600
# The share of a waiting time by which its end may be seen too late: each look takes processor time
# from what is measured.
_RESOLUTION = 0.005
# Set by the signal. What it raises is lost where Python collects garbage just then.
interrupted = threading.Event()


class BenchFailed(Exception):
    """The workload did not finish, or cannot run here."""


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt."""
    if interrupted.is_set():
        raise KeyboardInterrupt


def wait_until(
    condition: Callable[[], bool], every: float = 0.02, seconds: float = DEADLINE_SECONDS
) -> None:
    """Raises BenchFailed when it does not come true in time, and KeyboardInterrupt."""

    def is_true() -> bool:
        stop_if_interrupted()
        return condition()

    if not became_true(is_true, seconds, every):
        raise BenchFailed(f"not finished after {seconds:g} seconds")


def became_true(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Wait for a condition. Long ones are looked at less often: to within 0.5 %."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            return False
        time.sleep(max(every, waited * _RESOLUTION))
    return True
