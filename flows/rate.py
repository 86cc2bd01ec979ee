from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

Start = tuple[float, int]


@dataclass(slots=True)
class RateLimit:
    """At most `count` starts in any window of `period_seconds`, exactly.

    A start is written down as the last moment at which it may happen: the claim's time plus what
    the session allows itself until its script begins. A window that begins right after it is
    therefore free of it for certain.
    """

    count: int
    period_seconds: float
    starts: list[Start]

    @classmethod
    def read(cls, count: int, period: timedelta | int, recent: str) -> RateLimit:
        """Take the columns as the database gives them; SQLite has a duration in microseconds."""
        seconds = period.total_seconds() if isinstance(period, timedelta) else period / 1e6
        return cls(count, seconds, [(at, n) for at, n in json.loads(recent or "[]")])

    def write(self) -> str:
        return json.dumps(self.starts)

    def allowance(self, now: float) -> int:
        """Return how many may start now, forgetting those that no longer count."""
        self.starts = [(at, n) for at, n in self.starts if at + self.period_seconds >= now]
        return max(self.count - sum(n for _, n in self.starts), 0)

    def add(self, at: float, count: int) -> None:
        if count:
            self.starts.append((at, count))

    def free_at(self, now: float) -> float:
        """Return when the next start is allowed, `now` at the earliest."""
        if self.allowance(now):
            return now
        return min(at for at, _ in self.starts) + self.period_seconds
