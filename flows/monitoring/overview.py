"""How all is going: flows, queues and alarms, read with a bounded number of queries.

No run, and no message but the first ones of each queue, is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Max, QuerySet

from flows.models import (
    ConservationCheck,
    Consumer,
    Flow,
    FlowScheduleState,
    FlowTotals,
    FlowVersion,
    LiveCluster,
    Queue,
)
from flows.models.live_cluster import COUNTS
from flows.monitoring.curves import (
    MINUTES,
    RESOLUTIONS,
    TEN_MINUTES,
    Curve,
    Curves,
    Resolution,
    curves,
    together,
)
from flows.monitoring.health import FlowHealth, QueueHealth, Snapshot
from flows.monitoring.kept import Kept
from flows.monitoring.refused_starts import Refused, refused_starts
from flows.monitoring.thresholds import DEFAULT, Thresholds, ThresholdsInForce
from flows.monitoring.wait_reason import QueueSnapshot
from flows.store import store
from flows.store.rate_limit import RateLimit

MOST_CAUSES = 3
MOST_PROBLEMS = 3
NONE_UNREADABLE: Mapping[str, str] = {}

# What is usual, and what is new since yesterday, changes slowly.
_usual = Kept(60.0)
# What home draws. It has been counted every few seconds.
_drawn = Kept(2.0)


@dataclass(slots=True)
class QueueState:
    """A queue with the step that it feeds. `busy` threads are those granted to live sessions."""

    pk: int
    name: str
    size: int
    depth: int
    reserved: int
    delayed: int
    is_paused: bool
    flow: str
    step: str
    threads: int
    rate_count: int | None
    rate_used: int = 0
    rate_seconds: float = 1.0
    busy: int = 0
    ready_for: timedelta | None = None
    cluster: str = ""
    unreadable: str = ""
    # It feeds the first step of its flow.
    is_first: bool = False
    thresholds: Thresholds = DEFAULT

    @property
    def taken(self) -> int:
        return self.depth + self.reserved

    @property
    def fullness(self) -> float:
        return self.taken / self.size

    @property
    def running(self) -> int:
        return min(self.busy, self.depth)

    @property
    def waiting(self) -> int:
        return self.depth - self.running


@dataclass(slots=True)
class FlowState:
    """A flow, the sums over its queues, and its curve of the period.

    What is counted by names counts under those that it had before, too: `names` has all.
    """

    pk: int
    name: str
    active: bool
    paused: bool
    names: tuple[str, ...]
    curve: Curve
    steps: int = 0
    open_letters: int = 0
    waiting: int = 0
    running: int = 0
    delayed: int = 0
    ready_for: timedelta | None = None
    # Starts that were refused in the period, by cause.
    refused: Refused = field(default_factory=dict)
    thresholds: Thresholds = DEFAULT


@dataclass(slots=True)
class Overview:
    now: datetime
    flows: list[FlowState]
    queues: list[QueueState]
    health: Snapshot
    consumers: list[Consumer] = field(default_factory=list)
    # Of flows that are seen, and of those that were deleted where all is seen.
    open_letters: int = 0
    # Of all flows, those included that were deleted or are not seen.
    accepted: int = 0
    completed: int = 0


def overview(
    flows: QuerySet[Flow],
    queues: QuerySet[Queue],
    resolution: Resolution = MINUTES,
    clusters: int | None = None,
    missing_measures: Collection[tuple[str, tuple[str, ...]]] = (),
    unreadable: Mapping[str, str] = NONE_UNREADABLE,
    is_whole: bool = True,
) -> Overview:
    """Read the state of these flows and queues.

    `clusters`: how many clusters are alive, None where that is not known. `unreadable`: why
    messages cannot be read, by the names of queues. `is_whole`: these are all flows, so that what
    concerns the whole installation belongs to it.
    """
    now = store().database.now()
    consumers = _live_consumers(now)
    queue_states = _queues(queues, consumers, now)
    period = _drawn.read(resolution, lambda: curves(resolution, now))
    totals = FlowTotals.objects.in_bulk()
    states = _flow_states(flows, period, totals)
    refused = refused_starts(now - timedelta(seconds=resolution.span))
    thresholds = ThresholdsInForce.read()
    for state in states:
        state.refused = refused.get(state.name, {})
        state.thresholds = thresholds.of_flow(state.name)
    _add_queues(states, queue_states)
    for queue in queue_states:
        queue.thresholds = thresholds.of_queue(queue.name, queue.flow)
        queue.unreadable = unreadable.get(queue.name, "")
    gone = _letters_of_gone_flows(totals.values(), states) if is_whole else {}
    health = Snapshot(
        flows=tuple(_flow_healths(states, now)),
        gone_flows=tuple(_gone_healths(gone, now, thresholds)),
        queues=tuple(_queue_healths(queue_states, consumers, now, thresholds.installation)),
        clusters=clusters,
        has_live_consumers=bool(consumers),
        missing_measures=tuple(missing_measures) if is_whole else (),
        conservation_faults=_conservation_faults() if is_whole else (),
        gone_for=_gone_for(thresholds.installation, now),
        thresholds=thresholds.installation,
    )
    return Overview(
        now,
        states,
        queue_states,
        health,
        consumers,
        open_letters=sum(state.open_letters for state in states) + sum(gone.values()),
        accepted=sum(each.accepted for each in totals.values()),
        completed=sum(each.completed for each in totals.values()),
    )


# --- flows ---------------------------------------------------------------------------------------


def _flow_states(
    flows: QuerySet[Flow], period: Curves, totals: Mapping[str, FlowTotals]
) -> list[FlowState]:
    rows = list(flows.order_by("name").values_list("pk", "name", "active", "paused"))
    former = _former_names({pk: name for pk, name, *_ in rows}, totals.keys())
    states = []
    for row in rows:
        names = (row[1], *former[row[0]])
        letters = sum(totals[name].open_letters for name in names if name in totals)
        states.append(FlowState(*row, names, _curve(period, names), open_letters=letters))
    return states


def _former_names(
    flows: Mapping[int, str], counted: Collection[str]
) -> defaultdict[int, list[str]]:
    """Return the counted names that these flows had before, and that no flow has now.

    Of two flows that had a name the one that had it last counts.
    """
    found: defaultdict[int, list[str]] = defaultdict(list)
    if others := set(counted) - set(flows.values()):
        taken = Flow.objects.filter(name__in=others).values("name")
        versions = FlowVersion.objects.filter(flow_name__in=others, flow__isnull=False)
        had = versions.exclude(flow_name__in=taken).order_by("created_at", "pk")
        for name, pk in dict(had.values_list("flow_name", "flow")).items():
            found[pk].append(name)
    return found


def _curve(found: Curves, names: Iterable[str]) -> Curve:
    """Return what a flow's runs did under all its names."""
    return together([found[name, ""] for name in names])


# --- queues ------------------------------------------------------------------------------------

QUEUE_COLUMNS = (
    *("id", "name", "size", "cluster", "paused", "rate_count", "rate_period"),
    *("step__flow__paused", "step__flow__name", "step__name", "step__threads"),
    *("step__pk", "step__position"),
    *("state__depth", "state__reserved", "state__delayed", "state__recent_starts"),
)


def state_of(queue: Any, now: datetime) -> QueueState:
    """Return the state of a queue of a snapshot."""
    step, state = queue.fed_step, queue.state
    row = {
        "id": queue.pk,
        "name": queue.name,
        "size": queue.size,
        "cluster": queue.cluster,
        "paused": queue.paused,
        "rate_count": queue.rate_count,
        "rate_period": queue.rate_period,
        "step__flow__paused": step and step.flow.paused,
        "step__flow__name": step and step.flow.name,
        "step__name": step and step.name,
        "step__threads": step and step.threads,
        "state__depth": state.depth,
        "state__reserved": state.reserved,
        "state__delayed": state.delayed,
        "state__recent_starts": state.recent_starts,
    }
    return _queue_state(row, queue.granted, now)


SESSION_COLUMNS = ("queue", "threads", "cluster", "machine", "pid")


def _live_consumers(now: datetime) -> list[Consumer]:
    alive = now - timedelta(seconds=settings.ASYNCENGINE_LEASE_SECONDS)
    live = Consumer.objects.filter(heartbeat_at__gte=alive, pid__isnull=False)
    return list(live.only(*SESSION_COLUMNS).order_by("cluster", "pid", "pk"))


def _queues(queues: QuerySet[Queue], consumers: list[Consumer], now: datetime) -> list[QueueState]:
    busy: defaultdict[int, int] = defaultdict(int)
    for consumer in consumers:
        busy[consumer.queue_id] += consumer.threads
    rows = list(queues.order_by("name").values(*QUEUE_COLUMNS))
    states = [_queue_state(row, busy[row["id"]], now) for row in rows]
    first = _first_queues(rows)
    for state in states:
        state.is_first = state.pk in first
    _add_ages(states, now)
    return states


def _first_queues(rows: list[dict[str, Any]]) -> set[int]:
    """Return the ids of the queues that feed the first steps of their flows."""
    fed = [row for row in rows if row["step__pk"]]
    fed.sort(key=lambda row: (row["step__position"], row["step__pk"]), reverse=True)
    return set({row["step__flow__name"]: row["id"] for row in fed}.values())


def _queue_state(row: dict[str, Any], busy: int, now: datetime) -> QueueState:
    state = QueueState(
        pk=row["id"],
        name=row["name"],
        size=row["size"],
        depth=row["state__depth"] or 0,
        reserved=row["state__reserved"] or 0,
        delayed=row["state__delayed"] or 0,
        is_paused=bool(row["paused"] or row["step__flow__paused"]),
        flow=row["step__flow__name"] or "",
        step=row["step__name"] or "",
        threads=row["step__threads"] or 0,
        rate_count=row["rate_count"],
        busy=busy,
        cluster=row["cluster"],
    )
    if state.rate_count:
        recent = row["state__recent_starts"] or ""
        rate = RateLimit.read(state.rate_count, row["rate_period"], recent)
        state.rate_used = rate.count - rate.allowance(now.timestamp())
        state.rate_seconds = rate.period_seconds
    return state


def _add_ages(states: list[QueueState], now: datetime) -> None:
    """Add since when the oldest ready message of each queue waits."""
    oldest = store().oldest_ready([state.pk for state in states], now)
    for state in states:
        if since := oldest.get(state.pk):
            state.ready_for = max(now - since, timedelta(0))


def _add_queues(flows: list[FlowState], queues: list[QueueState]) -> None:
    by_name = {flow.name: flow for flow in flows}
    for queue in queues:
        if flow := by_name.get(queue.flow):
            flow.steps += 1
            flow.waiting += queue.waiting
            flow.running += queue.running
            flow.delayed += queue.delayed
            flow.ready_for = max(
                (age for age in (flow.ready_for, queue.ready_for) if age is not None), default=None
            )


# --- health ------------------------------------------------------------------------------------


def _flow_healths(flows: list[FlowState], now: datetime) -> list[FlowHealth]:
    hour, day, week = (
        _usual.read(each, partial(curves, each, now, with_durations=False)) for each in RESOLUTIONS
    )
    problems: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    failing = FlowScheduleState.objects.exclude(problem="").order_by("schedule__name")
    for flow_id, *problem in failing.values_list("schedule__flow", "schedule__name", "problem"):
        problems[flow_id].append((problem[0], problem[1]))
    return [
        FlowHealth(
            flow.name,
            open_letters=flow.open_letters,
            new_letters=_curve(day, flow.names).total("letters"),
            failed_in_hour=_curve(hour, flow.names).total("failed"),
            ended_in_hour=_ended(_curve(hour, flow.names)),
            failed_in_week=_curve(week, flow.names).total("failed"),
            ended_in_week=_ended(_curve(week, flow.names)),
            schedule_problems=tuple(problems[flow.pk][:MOST_PROBLEMS]),
            thresholds=flow.thresholds,
        )
        for flow in flows
    ]


def _letters_of_gone_flows(totals: Iterable[FlowTotals], states: list[FlowState]) -> dict[str, int]:
    """Return how many dead letters are open under names of flows that are gone."""
    there = {name for state in states for name in state.names}
    open_letters = {each.flow_name: each.open_letters for each in totals if each.open_letters}
    return {name: count for name, count in open_letters.items() if name not in there}


def _gone_healths(
    gone: dict[str, int], now: datetime, thresholds: ThresholdsInForce
) -> Iterator[FlowHealth]:
    if not gone:
        return
    day = _usual.read(TEN_MINUTES, partial(curves, TEN_MINUTES, now, with_durations=False))
    for name, open_letters in sorted(gone.items()):
        yield FlowHealth(
            name,
            open_letters=open_letters,
            new_letters=day[name, ""].total("letters"),
            thresholds=thresholds.of_flow(name),
        )


def _ended(curve: Curve) -> int:
    return curve.total("completed") + curve.total("failed")


def _queue_healths(
    queues: list[QueueState], consumers: list[Consumer], now: datetime, of_all: Thresholds
) -> list[QueueHealth]:
    suspected = [queue for queue in queues if _seems_to_stand_still(queue)]
    moving = {consumer.queue_id for consumer in consumers}
    moving |= _moved_lately([queue for queue in suspected if queue.pk not in moving], now)
    causes = _causes([queue for queue in suspected if queue.pk not in moving], now)
    gone = _gone_clusters(queues, now - of_all.workers_gone)
    return [
        QueueHealth(
            name=queue.name,
            flow=queue.flow,
            taken=queue.taken,
            size=queue.size,
            is_first=queue.is_first,
            ready_for=queue.ready_for,
            is_paused=queue.is_paused,
            is_worked_on=queue.pk in moving,
            waits_because=causes.get(queue.pk, ""),
            cluster=queue.cluster if queue.cluster in gone else "",
            unreadable=queue.unreadable,
            thresholds=queue.thresholds,
        )
        for queue in queues
    ]


def _gone_for(of_all: Thresholds, now: datetime) -> timedelta | None:
    """Return how long no cluster has said that it is alive; a wait of 15 s needs no query."""
    if of_all.workers_gone <= COUNTS:
        return None
    latest: datetime | None = LiveCluster.objects.aggregate(at=Max("seen_at"))["at"]
    return now - latest if latest else None


def _gone_clusters(queues: list[QueueState], since: datetime) -> set[str]:
    """Return the clusters that queues are bound to and no worker has been running of since then."""
    named = {queue.cluster for queue in queues if queue.cluster}
    if not named:
        return named
    seen = LiveCluster.objects.filter(name__in=named, seen_at__gt=since)
    return named - set(seen.values_list("name", flat=True))


def _seems_to_stand_still(queue: QueueState) -> bool:
    since = queue.ready_for
    return since is not None and since >= queue.thresholds.standing_still and not queue.is_paused


def _causes(queues: list[QueueState], now: datetime) -> dict[int, str]:
    """Return why the first of these queues wait. A cause takes queries of its own."""
    still = [queue.pk for queue in queues[:MOST_CAUSES]]
    if not still:
        return {}
    snapshot = QueueSnapshot(Queue.objects.filter(pk__in=still), now)
    return {pk: snapshot.why_queue(pk) or "" for pk in still}


def _moved_lately(queues: list[QueueState], now: datetime) -> set[int]:
    """Return the queues whose steps ended a delivery in the time that they may stand still."""
    moved: set[int] = set()
    for resolution in RESOLUTIONS:
        of_it = [queue for queue in queues if _resolution_of(queue) is resolution]
        if not of_it:
            continue
        found = curves(
            resolution,
            now,
            {queue.flow for queue in of_it},
            {queue.step for queue in of_it},
            with_durations=False,
        )
        moved |= {
            queue.pk
            for queue in of_it
            if any(
                found[queue.flow, queue.step].total(event, _slots_of(queue, resolution))
                for event in STEP_EVENTS
            )
        }
    return moved


def _resolution_of(queue: QueueState) -> Resolution:
    """Return the finest counters that reach back as far as the queue may stand still."""
    reaching = (each for each in RESOLUTIONS if _slots_of(queue, each) <= each.slots)
    return next(reaching, RESOLUTIONS[-1])


def _slots_of(queue: QueueState, resolution: Resolution) -> int:
    seconds = queue.thresholds.standing_still.total_seconds()
    return int(seconds // resolution.slot_seconds) + 1


STEP_EVENTS = ("completed", "redelivered", "letters", "cancelled")


def _conservation_faults() -> tuple[str, ...]:
    latest = ConservationCheck.objects.values_list("faults", flat=True).first()
    return tuple(orjson.loads(latest)) if latest else ()
