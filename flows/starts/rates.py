"""Start rates: in any window of its period, a rate allows as many starts as it says.

The starts that count stand in a row of the user or the flow. It is locked and changed in the
transaction of the starts themselves. So the rate holds for all processes and machines together, and
a start that is not stored does not count. Without a rate nothing here is read or written.

A row that was found exhausted stays so until its oldest start has left the window. Until then this
process refuses by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from flows.errors import StartRateExceeded
from flows.models import RecentStarts
from flows.models.users import caller_of
from flows.plan import FlowPlan
from flows.store import NewRun, StartRate, store
from flows.store.rate_limit import RateLimit, starts_of

if TYPE_CHECKING:
    from flows.access.rights import Caller

# The most exhausted rates that a process remembers.
MOST_KNOWN = 10_000

# When exhausted rates allow the next start, by the monotonic clock.
_exhausted: dict[StartRate, float] = {}
Refused = dict[UUID, StartRateExceeded]


def rates_of(plan: FlowPlan, user: Caller | None) -> tuple[StartRate, ...]:
    """Return the rates that a start by this caller counts in; for a superuser there are none."""
    of_user = settings.ASYNCENGINE_START_RATE
    if not (of_user or plan.start_rate) or getattr(user, "is_superuser", False):
        return ()
    rates = []
    if plan.start_rate:
        rates.append(StartRate("flow", f"flow {plan.flow_id}", *plan.start_rate))
    if of_user:
        rates.append(StartRate("user", f"user {caller_of(user and user.pk)}", *of_user))
    return tuple(rates)


@dataclass(frozen=True, slots=True)
class Standing:
    """How many starts a rate allows now, and in how many seconds it will be more."""

    rate: StartRate
    left: int
    seconds: float


def standings(rates: Collection[StartRate]) -> dict[StartRate, Standing]:
    """Return how rates stand now. It takes no lock."""
    if not rates:
        return {}
    rows = RecentStarts.objects.filter(pk__in={rate.key for rate in rates})
    limits = Limits(rates, dict(rows.values_list("key", "starts")))
    return {rate: limits.standing(rate) for rate in rates}


@contextmanager
def within_rates(runs: Sequence[NewRun]) -> Iterator[None]:
    """Have the runs, which the block stores, count in their rates: all of them or none.

    Raises StartRateExceeded, with the number of first ones that are allowed.
    """
    if not any(run.rates for run in runs):
        yield
        return
    with admitting(runs) as refused:
        if refused:
            number = next(n for n, run in enumerate(runs) if run.correlation_id in refused)
            error = refused[runs[number].correlation_id]
            error.allowed = number
            raise error
        yield


@contextmanager
def admitting(runs: Sequence[NewRun]) -> Iterator[Refused]:
    """Have the runs that the block stores count in their rates; yield the errors of the others.

    The first ones go first. The block stores all but the refused, or raises.
    """
    refused = _refused_from_memory(runs)
    left = [run for run in runs if run.correlation_id not in refused]
    rates = {rate for run in left for rate in run.rates}
    if not rates:
        yield refused
        return
    with store().database.transaction():
        limits = Limits(rates, _locked(rates))
        _remember(limits)
        refused |= limits.admit(left)
        limits.write()
        yield refused
    # Only now: what is rolled back exhausts no rate.
    _remember(limits)


class Limits:
    """The starts that count in some rates, as they stand in rows, at one moment."""

    def __init__(self, rates: Collection[StartRate], written: Mapping[str, str]) -> None:
        self._epoch = store().database.now().timestamp()
        self._limits = {rate: self._read(rate, written.get(rate.key, "")) for rate in rates}
        self._changed: set[StartRate] = set()

    def _read(self, rate: StartRate, written: str) -> RateLimit:
        # A clock that was set back leaves starts that lie further ahead than a window reaches.
        ends = self._epoch + rate.seconds
        starts = {at: count for at, count in starts_of(written).items() if at <= ends}
        return RateLimit(rate.count, rate.seconds, starts)

    def standing(self, rate: StartRate) -> Standing:
        limit = self._limits[rate]
        return Standing(rate, limit.allowance(self._epoch), _seconds_until_more(limit, self._epoch))

    def exhausted(self, rates: Iterable[StartRate] | None = None) -> list[Standing]:
        """Return those of the rates, or of all, that allow no start now."""
        standings = [self.standing(rate) for rate in rates or self._limits]
        return [each for each in standings if not each.left]

    def admit(self, runs: Iterable[NewRun]) -> Refused:
        """Count the runs that their rates allow, and return the errors of the others."""
        refused = {}
        for run in runs:
            if exhausted := self.exhausted(run.rates) if run.rates else []:
                refused[run.correlation_id] = _error(exhausted)
                continue
            self._changed.update(run.rates)
            for rate in run.rates:
                self._limits[rate].add(self._epoch)
        return refused

    def write(self) -> None:
        for rate in self._changed:
            RecentStarts.objects.filter(pk=rate.key).update(starts=self._limits[rate].write())


def _seconds_until_more(limit: RateLimit, epoch: float) -> float:
    if not limit.starts:
        return 0.0
    return max(min(limit.starts) + limit.period_seconds - epoch, 0.0)


def _locked(rates: Collection[StartRate]) -> Mapping[str, str]:
    """Lock the rows of the rates, in one order, and return what they have."""
    keys = {rate.key for rate in rates}
    rows = RecentStarts.objects.filter(pk__in=keys).order_by("pk").select_for_update()
    found = dict(rows.values_list("key", "starts"))
    if len(found) < len(keys):
        missing = [RecentStarts(key=key) for key in sorted(keys - found.keys())]
        RecentStarts.objects.bulk_create(missing, ignore_conflicts=True)
        found = dict(rows.values_list("key", "starts"))
    return found


def _refused_from_memory(runs: Iterable[NewRun]) -> Refused:
    now = time.monotonic()
    refused = {}
    for run in runs:
        known = [(rate, _exhausted[rate] - now) for rate in run.rates if rate in _exhausted]
        if left := [Standing(rate, 0, seconds) for rate, seconds in known if seconds > 0]:
            refused[run.correlation_id] = _error(left)
    return refused


def _remember(limits: Limits) -> None:
    """Remember the exhausted rates until they allow the next start."""
    now = time.monotonic()
    for each in limits.exhausted():
        if len(_exhausted) >= MOST_KNOWN:
            _exhausted.clear()
        _exhausted[each.rate] = now + each.seconds


def forget() -> None:
    """Forget which rates are exhausted."""
    _exhausted.clear()


def _error(exhausted: Sequence[Standing]) -> StartRateExceeded:
    names = " and the ".join(f"{each.rate.name}'s" for each in exhausted)
    seconds = max(each.seconds for each in exhausted)
    return StartRateExceeded(
        f"The {names} start rate is exhausted.",
        seconds=seconds,
        retry_after=max(1, math.ceil(seconds)),
        standings=tuple(exhausted),
    )
