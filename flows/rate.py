from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

# Starts are written down to this part of the period, so that they are never too many to keep.
GRID = 500


@dataclass(slots=True)
class RateLimit:
    """At most `count` starts in any window of `period_seconds`, exactly.

    A start is written down as the last moment at which it may happen: the claim's time plus what
    the session allows itself until its script begins. A window that begins right after it is
    therefore free of it for certain. Once it is known when it did happen, that is put in its place.
    `starts` has how many there are at each moment, in epoch seconds of the database's clock.
    """

    count: int
    period_seconds: float
    starts: dict[float, int]

    @classmethod
    def read(cls, count: int, period: timedelta | int, recent: str) -> RateLimit:
        """Take the columns as the database gives them; SQLite has a duration in microseconds."""
        seconds = period.total_seconds() if isinstance(period, timedelta) else period / 1e6
        return cls(count, seconds, dict(json.loads(recent or "[]")))

    def write(self) -> str:
        return json.dumps([*self.starts.items()])

    def allowance(self, now: float) -> int:
        """Return how many may start now, forgetting those that no longer count."""
        since = now - self.period_seconds
        self.starts = {at: n for at, n in self.starts.items() if at >= since}
        return max(self.count - sum(self.starts.values()), 0)

    def add(self, at: float, count: int = 1) -> None:
        if count:
            self.starts[at] = self.starts.get(at, 0) + count

    def correct(self, booked: float, happened: float | None) -> None:
        """Put when a start happened in the place of what was written down; None: it did not."""
        if booked not in self.starts:
            return
        self.starts[booked] -= 1
        if not self.starts[booked]:
            del self.starts[booked]
        if happened is not None:
            grid = self.period_seconds / GRID
            self.add(min(ceil(happened / grid) * grid, booked))

    def free_at(self, now: float) -> float:
        """Return when the next start is allowed, `now` at the earliest."""
        if self.allowance(now):
            return now
        return min(self.starts) + self.period_seconds


def shifted(recent: str, seconds: float) -> str:
    """Return what `write` has given with every start that much later."""
    starts = [[at + seconds, count] for at, count in json.loads(recent or "[]")]
    return json.dumps(starts)
