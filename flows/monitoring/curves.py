"""Curves of what happened, read from blocks of counts: two rows for each flow or step.

`flows/tasks/counting.py` says what is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
from django.db.models import Q

from flows.models import CountBlock
from flows.monitoring.histogram import Histogram, merged, quantile, read


@dataclass(frozen=True, slots=True)
class Resolution:
    """The length of the slots of a block, how many it has, and how long it is kept."""

    slot_seconds: int
    slots: int
    kept: timedelta

    @property
    def span(self) -> int:
        return self.slot_seconds * self.slots

    def place(self, at: datetime) -> tuple[datetime, int]:
        """Return when the block of a time begins, and the slot in it."""
        seconds = int(at.timestamp())
        begins = seconds - seconds % self.span
        return datetime.fromtimestamp(begins, UTC), (seconds - begins) // self.slot_seconds


MINUTES = Resolution(60, 60, timedelta(hours=25))
TEN_MINUTES = Resolution(600, 144, timedelta(days=9))
HOURS = Resolution(3600, 168, timedelta(days=36))
RESOLUTIONS = (MINUTES, TEN_MINUTES, HOURS)

# By the name of a period on a page: its slots are a block's length.
PERIODS = {"hour": MINUTES, "day": TEN_MINUTES, "week": HOURS}


@dataclass(slots=True)
class Curve:
    """The events of a flow or step in each slot up to now, the oldest first.

    Durations are of the present block and the one before it: of one to two periods.
    """

    slots: int
    slot_seconds: int
    series: dict[str, list[int]] = field(default_factory=dict)
    durations: Histogram = field(default_factory=Histogram)

    def of(self, event: str) -> list[int]:
        """Return the numbers of an event. A run that changed its flow is no negative event."""
        series = self.series.get(event)
        if series is None:
            return [0] * self.slots
        return series if min(series) >= 0 else [max(number, 0) for number in series]

    def total(self, event: str, slots: int | None = None) -> int:
        """Return the sum over the last slots, by default over all."""
        return max(sum(self.series.get(event, ())[-(slots or self.slots) :]), 0)

    def quantile(self, share: float) -> float | None:
        """Return the seconds that this share of the durations did not exceed."""
        return quantile(self.durations, share)


# By the names of the flow and the step; "" stands for the runs of the flow.
Curves = defaultdict[tuple[str, str], Curve]


def curves(
    resolution: Resolution,
    now: datetime,
    flow_names: Collection[str] | None = None,
    step_names: Collection[str] | None = ("",),
    with_durations: bool = True,
) -> Curves:
    """Read the curves of flows, or of all; where there is none it has no events.

    `step_names`: those of steps, "" for runs; None: all of them.
    """
    begins_at, slot = resolution.place(now)
    before = begins_at - timedelta(seconds=resolution.span)
    blocks = CountBlock.objects.filter(
        slot_seconds=resolution.slot_seconds, begins_at__in=[before, begins_at]
    ).filter(_named(flow_names, step_names))
    columns = ["flow_name", "step_name", "begins_at", "counts"]
    if with_durations:
        columns.append("durations")
    found: Curves = defaultdict(lambda: Curve(resolution.slots, resolution.slot_seconds))
    for flow_name, step_name, begins, counts, *durations in blocks.values_list(*columns):
        curve = found[flow_name, step_name]
        _add(curve, orjson.loads(counts), slot, is_present=begins == begins_at)
        curve.durations = merged([curve.durations, *map(read, durations)])
    return found


def together(found: Sequence[Curve]) -> Curve:
    """Return one curve of the events of all, which have slots of one length."""
    first, *others = found
    if not others:
        return first
    joined = Curve(first.slots, first.slot_seconds)
    for curve in found:
        for event, numbers in curve.series.items():
            before = joined.series.get(event, [0] * first.slots)
            joined.series[event] = [one + more for one, more in zip(before, numbers, strict=True)]
    joined.durations = merged(curve.durations for curve in found)
    return joined


def _named(flow_names: Collection[str] | None, step_names: Collection[str] | None) -> Q:
    named = Q()
    if flow_names is not None:
        named &= Q(flow_name__in=flow_names)
    if step_names is not None:
        named &= Q(step_name__in=step_names)
    return named


def _add(curve: Curve, counts: dict[str, list[int]], slot: int, is_present: bool) -> None:
    """Add a block to the curve, whose last slot is the present one."""
    for event, numbers in counts.items():
        series = curve.series.setdefault(event, [0] * curve.slots)
        if is_present:
            first, part = curve.slots - slot - 1, numbers[: slot + 1]
        else:
            first, part = -slot - 1, numbers
        for at, number in enumerate(part, first):
            if at >= 0:
                series[at] += number
