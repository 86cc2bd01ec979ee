"""A rate limit: starts that count, and those that are still allowed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

# Many starts are rounded to 1/500 of the period, so about 500 times are stored at most.
GRID = 500
FEW = 32


@dataclass(slots=True)
class RateLimit:
    """At most `count` starts in any window of `period_seconds`, exactly.

    All times are epoch seconds of the database's clock. A claim reserves a start at the latest time
    at which it may happen: the claim's time plus the time that the session allows itself until its
    script begins. A window that begins right after that time certainly does not contain the start.
    `correct` replaces the reserved time by the real one. `starts` counts the starts at each time.
    If there are more than a few times, they are on a grid: a start between two of them counts at
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
        """Return the starts as text: the times, or the grid and the steps between them."""
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

    def allowance(self, epoch: float) -> int:
        """Return how many may start at this time, and forget starts that no longer count."""
        since = epoch - self.period_seconds
        self.starts = {at: n for at, n in self.starts.items() if at >= since}
        return max(self.count - sum(self.starts.values()), 0)

    def add(self, at: float, count: int = 1) -> None:
        """Write starts down for this time, in epoch seconds."""
        if count:
            self.starts[at] = self.starts.get(at, 0) + count

    def correct(self, reserved: float, happened: float | None) -> None:
        """Replace the reserved time of a start by when it happened; None: it did not happen."""
        if reserved not in self.starts:
            # They may have become more than a few meanwhile.
            reserved = self._on_grid(reserved)
        if reserved not in self.starts:
            return
        self.starts[reserved] -= 1
        if not self.starts[reserved]:
            del self.starts[reserved]
        if happened is not None:
            self.add(min(self._on_grid(happened), reserved))

    def free_at(self, epoch: float) -> float:
        """Return when the next start is allowed, `epoch` at the earliest."""
        if self.allowance(epoch):
            return epoch
        return min(self.starts) + self.period_seconds

    @property
    def _grid(self) -> float:
        return self.period_seconds / GRID

    def _on_grid(self, at: float) -> float:
        return self._place(at) * self._grid

    def _place(self, at: float) -> int:
        """Return the number of the time on the grid, never an earlier one."""
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
