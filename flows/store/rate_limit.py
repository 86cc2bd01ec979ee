"""A rate limit: starts that count, and those that are still allowed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

# Where there are more than a few, starts are written down to this part of the period, so that they
# are never too many to keep.
GRID = 500
FEW = 32


@dataclass(slots=True)
class RateLimit:
    """At most `count` starts in any window of `period_seconds`, exactly.

    A start is written down as the last moment at which it may happen: the claim's time plus what
    the session allows itself until its script begins. A window that begins right after it is
    therefore free of it for certain. Once it is known when it did happen, that is put in its place.
    `starts` has how many there are at each moment, in epoch seconds of the database's clock. Where
    there are more than a few moments, they are on a grid: a start between two of them counts as at
    the later one.
    """

    count: int
    period_seconds: float
    starts: dict[float, int]

    @classmethod
    def read(cls, count: int, period: timedelta | int, recent: str) -> RateLimit:
        """Take the columns as the database gives them; SQLite has a duration in microseconds."""
        seconds = period.total_seconds() if isinstance(period, timedelta) else period / 1e6
        return cls(count, seconds, starts_of(recent))

    def write(self) -> str:
        """Return the starts as text: the moments, or the grid and the way from each to the next."""
        if len(self.starts) <= FEW:
            return json.dumps([*self.starts.items()])
        on_grid: Counter[int] = Counter()
        for at, count in self.starts.items():
            on_grid[self._place(at)] += count
        before, steps = 0, []
        for place, count in sorted(on_grid.items()):
            steps += [place - before, count]
            before = place
        return json.dumps([self._grid, *steps], separators=(",", ":"))

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
            # They may have become more than a few meanwhile.
            booked = self._on_grid(booked)
        if booked not in self.starts:
            return
        self.starts[booked] -= 1
        if not self.starts[booked]:
            del self.starts[booked]
        if happened is not None:
            self.add(min(self._on_grid(happened), booked))

    def free_at(self, now: float) -> float:
        """Return when the next start is allowed, `now` at the earliest."""
        if self.allowance(now):
            return now
        return min(self.starts) + self.period_seconds

    @property
    def _grid(self) -> float:
        return self.period_seconds / GRID

    def _on_grid(self, at: float) -> float:
        return self._place(at) * self._grid

    def _place(self, at: float) -> int:
        """Return the number of the moment on the grid, never an earlier one."""
        place = round(at / self._grid)
        return place if place * self._grid >= at else place + 1


def starts_of(text: str) -> dict[float, int]:
    """Read what `write` wrote, whatever the grid was then."""
    values = json.loads(text or "[]")
    if not values or isinstance(values[0], list):
        return dict(values)
    grid, *steps = values
    place, starts = 0, {}
    for step, count in zip(steps[::2], steps[1::2], strict=True):
        place += step
        starts[place * grid] = count
    return starts


def shifted(recent: str, seconds: float) -> str:
    """Return what `write` has given with every start that much later."""
    return json.dumps([[at + seconds, count] for at, count in starts_of(recent).items()])
