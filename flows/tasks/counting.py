"""Count what happens in each minute, beside the hot path.

A start and a commit count in the totals of their flow, within their own transaction. Here the
broker of any cluster reads the totals every few seconds and counts the difference to what was
counted before. So

- accepted, completed, failed and cancelled runs and dead letters are exact: whatever is killed, the
  next difference has it, and two clusters that count at the same time lock the same row. What
  happened while no cluster ran counts in the minute in which one runs again;
- what is counted at steps, durations and redeliveries, is what workers have added up and sent to
  their broker: a kill loses a worker's last second and a broker's last five.

No row of a run or a message is read. Blocks that are never ended have the same sums, and those
that metrics alone need: counters of a monitoring system only grow.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db.models import Q, QuerySet

from flows.models import (
    CountBlock,
    CountedTotals,
    CountsClock,
    Flow,
    FlowTotals,
    RefusedStarts,
)
from flows.models.counts import ENDLESS_FROM, ENDLESS_SECONDS
from flows.monitoring import histogram
from flows.monitoring.curves import RESOLUTIONS, TEN_MINUTES
from flows.store import store
from flows.tasks.measures import MeasureChannel, Measured, Measures, no_measures

COUNT_SECONDS = 5.0
# Of the totals alone, where several clusters look.
SAMPLE_SECONDS = 4.0


class Counting:
    """The broker's part: what it was sent and has not stored, and when it counts next."""

    def __init__(self) -> None:
        self.measures = no_measures()
        self.counts_at = 0.0

    def count_now_and_then(self, channel: MeasureChannel) -> None:
        channel.receive(self.measures)
        if time.monotonic() >= self.counts_at:
            self.counts_at = time.monotonic() + COUNT_SECONDS
            if count(self.measures):
                self.measures = no_measures()


def count(measures: Measures | None = None, now: datetime | None = None) -> bool:
    """Count what was measured, and what the totals have grown by; false: another cluster does."""
    now = now or store().database.now()
    if not measures and not _is_due(CountsClock.objects.first(), now):
        return True
    with store().database.transaction():
        clock = _locked_clock()
        if clock is None:
            return False
        happened = no_measures()
        for key, measured in (measures or {}).items():
            happened[key].add(measured)
        if _is_due(clock, now):
            clock.sampled_at = now
            clock.save(update_fields=["sampled_at"])
            for flow_name, events in _new_events().items():
                happened[flow_name, ""].add(Measured(events))
        if happened:
            _add_to_blocks(happened, now)
    return True


def purge_counts(now: datetime, batch: int) -> int:
    """Delete a batch of the blocks that are no longer kept; return how many."""
    old = Q()
    for each in RESOLUTIONS:
        before = now - each.kept - timedelta(seconds=each.span)
        old |= Q(slot_seconds=each.slot_seconds, begins_at__lt=before)
    gone = ~Q(flow_name="") & ~Q(flow_name__in=Flow.objects.values("name"))
    refused = RefusedStarts.objects.filter(
        Q(minute__lt=now - TEN_MINUTES.kept, minute__gt=ENDLESS_FROM)
        | (Q(minute=ENDLESS_FROM) & gone)
    )
    blocks = CountBlock.objects.filter(old | (Q(slot_seconds=ENDLESS_SECONDS) & gone))
    return _purge(blocks, batch) or _purge(refused, batch)


def _purge(rows: QuerySet[Any], batch: int) -> int:
    ids = list(rows.values_list("pk", flat=True)[:batch])
    return rows.model._base_manager.filter(pk__in=ids).delete()[0] if ids else 0


def _is_due(clock: CountsClock | None, now: datetime) -> bool:
    if clock is None or clock.sampled_at is None:
        return True
    # A clock that was set back must not stop it.
    return abs(now - clock.sampled_at) >= timedelta(seconds=SAMPLE_SECONDS)


def _locked_clock() -> CountsClock | None:
    """Lock the one row until the commit; None where another cluster has locked it."""
    CountsClock.objects.bulk_create([CountsClock(pk=1)], ignore_conflicts=True)
    return CountsClock.objects.select_for_update(skip_locked=True).filter(pk=1).first()


def _new_events() -> dict[str, dict[str, int]]:
    """Return what each flow's totals have grown by, and note that it is counted."""
    counted = dict(CountedTotals.objects.values_list("flow_name", "counted"))
    new: dict[str, dict[str, int]] = {}
    changed: list[CountedTotals] = []
    for totals in FlowTotals.objects.order_by():
        ever = totals.ever()
        before = orjson.loads(counted.get(totals.flow_name, "{}"))
        events = {event: n - before.get(event, 0) for event, n in ever.items()}
        if any(events.values()):
            new[totals.flow_name] = {event: n for event, n in events.items() if n}
            changed.append(CountedTotals(totals.flow_name, orjson.dumps(ever).decode()))
    CountedTotals.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["flow_name"], update_fields=["counted"]
    )
    return new


def _add_to_blocks(happened: Measures, now: datetime) -> None:
    """Add events and durations to the slot of now in a block of each resolution, and sums to the
    one that is never ended."""
    places = {each.slot_seconds: each.place(now) for each in RESOLUTIONS}
    places[ENDLESS_SECONDS] = (ENDLESS_FROM, 0)
    blocks = _blocks(places, {flow_name for flow_name, _ in happened})
    changed = []
    for (flow_name, step_name), measured in happened.items():
        for slot_seconds, (begins_at, slot) in places.items():
            events: Mapping[str, float] = measured.events
            if slot_seconds == ENDLESS_SECONDS:
                events = {**measured.events, **measured.sums}
            elif not (measured.events or measured.durations):
                continue
            key = (flow_name, step_name, slot_seconds)
            block = blocks.get(key) or CountBlock(
                flow_name=flow_name,
                step_name=step_name,
                slot_seconds=slot_seconds,
                begins_at=begins_at,
                counts="{}",
            )
            block.counts = with_events(block.counts, slot, events)
            block.durations = with_durations(block.durations, measured.durations)
            changed.append(block)
    CountBlock.objects.bulk_create(
        [block for block in changed if block.pk is None],
        update_conflicts=True,
        unique_fields=["slot_seconds", "begins_at", "flow_name", "step_name"],
        update_fields=["counts", "durations"],
    )
    CountBlock.objects.bulk_update(
        [block for block in changed if block.pk is not None], ["counts", "durations"], 500
    )


def _blocks(
    places: dict[int, tuple[datetime, int]], flow_names: Iterable[str]
) -> dict[tuple[str, str, int], CountBlock]:
    current = Q()
    for slot_seconds, (begins_at, _) in places.items():
        current |= Q(slot_seconds=slot_seconds, begins_at=begins_at)
    blocks = CountBlock.objects.filter(current)
    names = set(flow_names)
    return {
        (block.flow_name, block.step_name, block.slot_seconds): block
        for block in blocks
        if block.flow_name in names
    }


def with_events(counts: str, slot: int, events: Mapping[str, float]) -> str:
    """Return the counts of a block with these events in a slot. Slots at the end may be missing."""
    series: defaultdict[str, list[float]] = defaultdict(list, orjson.loads(counts))
    for event, count in events.items():
        numbers = series[event]
        numbers.extend([0] * (slot + 1 - len(numbers)))
        numbers[slot] += count
    return orjson.dumps(series).decode()


def with_durations(durations: str, more: histogram.Histogram) -> str:
    return histogram.written(histogram.merged([histogram.read(durations), more]))
