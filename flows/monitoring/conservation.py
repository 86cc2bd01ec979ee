"""Is everything that was accepted still there? Compare the counters with the rows they count.

The transactions that change rows change the totals of flows (`FlowTotals`) and the counters of
queues (`QueueState`) as well. The check reads both in one snapshot, so it may run at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Case, Count, Exists, Max, OuterRef, Q, QuerySet, Value, When

from flows.models import FlowTotals, FlowVersion, Message, Queue, QueueState, Run, StepVersion
from flows.monitoring.wait_reason import QueueSnapshot
from flows.store import store


@dataclass(slots=True)
class FlowConservation:
    """The totals of a flow, the places of its unfinished runs, and its runs by status.

    The place of a run is that of its message: waiting, delayed or running. A run with several
    branches is running if one of them is, and delayed if all are. Only unfinished runs have a
    place: messages of a failed or cancelled run, whose other branches go on or whose script is
    being stopped, do not count.
    """

    kind: ClassVar[str] = "flow"

    name: str
    accepted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    delayed: int = 0
    running: int = 0
    orphans: int = 0
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Run.Status.values, 0))

    def faults(self) -> list[str]:
        """Return a sentence for each difference."""
        moving = self.waiting + self.delayed + self.running
        accounted = moving + self.completed + self.failed + self.cancelled
        unfinished = self.runs[Run.Status.QUEUED] + self.runs[Run.Status.RUNNING]
        compared = (
            ("accepted", self.accepted, "waiting, delayed, running or ended", accounted),
            ("accepted", self.accepted, "runs", sum(self.runs.values())),
            ("completed", self.completed, "completed runs", self.runs[Run.Status.COMPLETED]),
            ("failed", self.failed, "failed runs", self.runs[Run.Status.FAILED]),
            ("cancelled", self.cancelled, "cancelled runs", self.runs[Run.Status.CANCELLED]),
            ("waiting, delayed or running", moving, "unfinished runs", unfinished),
        )
        faults = disagreements(compared)
        if self.orphans:
            faults.append(f"{self.orphans} messages belong to no run or to a completed one")
        return faults


@dataclass(slots=True)
class QueueConservation:
    """The counters of a queue, and the messages that they count."""

    kind: ClassVar[str] = "queue"

    name: str
    depth: int = 0
    reserved: int = 0
    waiting: int = 0
    held: int = 0
    coming: int = 0
    delayed: int = 0
    delayed_starts: int = 0

    def faults(self) -> list[str]:
        return disagreements(
            (
                ("depth", self.depth, "waiting or held messages", self.waiting + self.held),
                ("delayed", self.delayed, "delayed starts", self.delayed_starts),
                ("reserved", self.reserved, "held messages that come to it", self.coming),
            )
        )


# The places of a run in ascending order: with several messages the last of them counts.
PLACES = ("delayed", "waiting", "running")

Conservation = FlowConservation | QueueConservation


@dataclass(frozen=True, slots=True)
class Stale:
    """The message that is ready and has waited longest."""

    correlation_id: UUID
    queue_name: str
    age: timedelta
    paused: bool


def disagreements(compared: tuple[tuple[str, int, str, int], ...]) -> list[str]:
    return [
        f"{name} is {counted}, but there are {found} {things}"
        for name, counted, things, found in compared
        if counted != found
    ]


def check() -> list[Conservation]:
    """Compare the counters of every flow and every queue with the rows, flows first, by name."""
    with store().database.snapshot():
        now = store().database.now()
        return [*_flows(now), *_queues()]


def document(checked: Conservation) -> dict[str, Any]:
    """Return it as JSON data, its faults included."""
    return {"kind": checked.kind, **asdict(checked), "faults": checked.faults()}


def oldest_without_progress(queues: QuerySet[Queue] | None = None) -> Stale | None:
    """Return the message that has been ready for the longest time and was not taken.

    None for `queues` means all queues.
    """
    snapshot = QueueSnapshot(Queue.objects.all() if queues is None else queues)
    oldest = snapshot.oldest()
    if oldest is None:
        return None
    queue = snapshot.queues[oldest.queue_id]
    step = queue.fed_step
    paused = queue.paused or bool(step and step.flow.paused)
    return Stale(oldest.run_id, queue.name, snapshot.now - oldest.available_at, paused)


# --- flows -------------------------------------------------------------------------------------


def _flows(now: datetime) -> list[FlowConservation]:
    flows: dict[str, FlowConservation] = {}

    def of(name: str) -> FlowConservation:
        return flows.setdefault(name, FlowConservation(name))

    for totals in FlowTotals.objects.all():
        flow = of(totals.flow_name)
        flow.accepted, flow.completed = totals.accepted, totals.completed
        flow.failed, flow.cancelled = totals.failed, totals.cancelled
    for name, status, count in _runs_by_status():
        of(name).runs[status] += count
    for name, status, place, count in _places(now):
        if status in Run.UNFINISHED:
            setattr(of(name), place, getattr(of(name), place) + count)
        elif status == Run.Status.COMPLETED:
            of(name).orphans += count
    for name, count in _messages_without_run():
        of(name).orphans += count
    return [flows[name] for name in sorted(flows)]


def _runs_by_status() -> Iterator[tuple[str, str, int]]:
    names = dict(FlowVersion.objects.values_list("pk", "flow_name"))
    runs = Run.objects.order_by().values_list("flow_version", "status").annotate(n=Count("pk"))
    for version_id, status, count in runs:
        yield names[version_id], status, count


def _places(now: datetime) -> Iterator[tuple[str, str, str, int]]:
    """Yield a flow, a status of runs, a place of their messages, and the number of these runs."""
    names = dict(FlowVersion.objects.values_list("pk", "flow_name"))
    place = Case(
        When(queue=None, then=Value(2)),
        When(available_at__gt=now, then=Value(0)),
        default=Value(1),
    )
    messages = Message.objects.order_by().annotate(place=place)
    is_branched = Q(branch__gt="") | Q(pending_outputs=True)
    # Runs with one message are counted by the database.
    single = messages.exclude(is_branched).values_list("run__flow_version", "run__status", "place")
    for version_id, status, at, count in single.annotate(n=Count("pk")):
        yield names[version_id], status, PLACES[at], count
    branched = messages.filter(is_branched).values_list("run", "run__flow_version", "run__status")
    for _, version_id, status, at in branched.annotate(foremost=Max("place")):
        yield names[version_id], status, PLACES[at], 1


def _messages_without_run() -> Iterator[tuple[str, int]]:
    orphans = Message.objects.filter(~Exists(Run.objects.filter(pk=OuterRef("run")))).order_by()
    flow_names = orphans.values_list("step__flow_version__flow_name")
    yield from flow_names.annotate(n=Count("pk"))


# --- queues ------------------------------------------------------------------------------------


def _queues() -> list[QueueConservation]:
    queues = {
        state.pk: QueueConservation(
            state.queue.name, state.depth, state.reserved, delayed=state.delayed
        )
        for state in QueueState.objects.select_related("queue").order_by("queue__name")
    }
    waiting = Message.objects.filter(queue__isnull=False).order_by().values_list("queue", "delayed")
    for queue_id, delayed, count in waiting.annotate(n=Count("pk")):
        if delayed:
            queues[queue_id].delayed_starts += count
        else:
            queues[queue_id].waiting += count
    own, rooms = _queues_of_steps()
    held = Message.objects.filter(queue=None).order_by().values_list("step")
    for step_id, count in held.annotate(n=Count("pk")):
        if at := queues.get(own[step_id]):
            at.held += count
        for queue_id in rooms[step_id] & queues.keys():
            queues[queue_id].coming += count
    return list(queues.values())


def _queues_of_steps() -> tuple[dict[int, int], dict[int, set[int]]]:
    """Return the queue of every step version, 0 for none, and those that its output may go to."""
    fields = ("pk", "flow_version", "position", "queue", "name", "goes_to")
    steps = list(StepVersion.objects.values_list(*fields))
    places = {(version, at): queue for _, version, at, queue, _, _ in steps}
    named = {(version, name): (at, queue) for _, version, at, queue, name, _ in steps}
    own = {pk: queue or 0 for pk, _, _, queue, _, _ in steps}
    rooms = {pk: {places.get((version, at + 1)) or 0} for pk, version, at, *_ in steps}
    for pk, version, at, _, _, goes_to in steps:
        found = [named.get((version, name), (-1, None)) for name in goes_to]
        rooms[pk] |= {queue or 0 for place, queue in found if place > at}
    return own, {pk: ids - {0} for pk, ids in rooms.items()}
