"""What a process keeps for a moment, because many users look at the same.

The key says all that an answer depends on, the flows that a user may see among it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from math import inf
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")
# The largest number of keys: one more makes room for itself.
MOST = 256


class Kept:
    """Makes what is asked for again after some seconds only."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.known: dict[Hashable, tuple[float, Any]] = {}
        _all.add(self)

    def read(self, key: Hashable, make: Callable[[], T], *, anew: bool = False) -> T:
        """Return what was made for the key, or make it; `anew`: in any case."""
        until, found = self.known.get(key, (0.0, None))
        if anew or time.monotonic() >= until:
            found = make()
            if len(self.known) >= MOST:
                self.known.clear()
            self.known[key] = (time.monotonic() + self.seconds, found)
        return found


_all: WeakSet[Kept] = WeakSet()


def forget(most_seconds: float = inf) -> None:
    """Forget what is kept for so long at most."""
    for each in list(_all):
        if each.seconds <= most_seconds:
            each.known.clear()
