"""This machine's clock and those of other clusters, compared with the clock of the engine.

Leases, delays and rates go by the database's clock, so that a wrong one of a machine does no harm
there. Tokens, sessions and logs go by the machine's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flows.doctor.findings import Finding, error, graded, ok, warning
from flows.store import store
from flows.tasks.clusters import ClusterStatus
from flows.tasks.stats import COUNTS_SECONDS

WARN_SECONDS = 2.0
ERROR_SECONDS = 30.0
# A cluster stores its state now and then, so that what is read may be as old as it may count.
OLDEST_NOTE = timedelta(seconds=COUNTS_SECONDS + 5)
ADVICE = "Let chrony or systemd-timesyncd set the clocks of all machines."


def clock() -> Finding:
    """Compare this machine's clock with the engine's; half of the way to it is taken off."""
    before = time.time()
    there = store().database.now().timestamp()
    after = time.time()
    return clock_finding(there - (before + after) / 2, (after - before) / 2)


def clock_finding(ahead: float, uncertain: float) -> Finding:
    """`ahead`: how far the engine's clock is ahead of this machine's, in seconds."""
    skew = max(abs(ahead) - uncertain, 0.0)
    seen = f"This machine's clock and the engine's differ by {skew:.1f} s."
    return graded("clock", skew, WARN_SECONDS, ERROR_SECONDS, seen, ADVICE)


def clocks_of_clusters(live: list[ClusterStatus], now: datetime | None = None) -> Iterator[Finding]:
    now = now or store().database.now()
    noted = {each.machine: each.noted_at for each in live if each.noted_at}
    for machine, at in sorted(noted.items()):
        ahead = at.astimezone(UTC) - now
        name = f"clock of {machine}"
        if -OLDEST_NOTE <= ahead <= timedelta(seconds=WARN_SECONDS):
            yield ok(name, "Its clusters note their state with the time of the engine.")
            continue
        seconds = abs(ahead.total_seconds())
        way = "ahead of" if ahead > timedelta(0) else "behind"
        seen = f"Its clock is some {seconds:.0f} s {way} the engine's."
        yield (error if seconds >= ERROR_SECONDS else warning)(name, seen, ADVICE)
