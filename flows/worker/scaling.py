"""How many workers for flows a cluster has now, between its least and its most.

One more where all are busy and messages wait, for some seconds; one less where one is idle for a
minute. Each step is one worker, so that what the last one has changed is seen before the next.
"""

from __future__ import annotations

import time

GROW_SECONDS = 2.0
SHRINK_SECONDS = 60.0


class Scaling:
    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = max(most, least)
        self._short_since = self._spare_since = time.monotonic()

    @property
    def is_on(self) -> bool:
        return self.most > self.least

    def next(self, present: int, busy: int, waits: bool) -> int:
        """Return how many there should be; `waits`: messages wait that one more could take."""
        clock = time.monotonic()
        if not waits or busy < present:
            self._short_since = clock
        if busy >= present:
            self._spare_since = clock
        if clock - self._short_since > GROW_SECONDS:
            self._short_since = clock
            return min(present + 1, self.most)
        if clock - self._spare_since > SHRINK_SECONDS:
            self._spare_since = clock
            return max(present - 1, self.least)
        return present
