"""What the pages of queues show: figures, the state as it is, the curve, the cause of a wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from flows.models import Queue, StepVersion
from flows.monitoring.curves import MINUTES, Curve, curves
from flows.monitoring.overview import NONE_UNREADABLE, QueueState, state_of
from flows.monitoring.wait_reason import QueueSnapshot

OPEN, PAUSED, FLOW_PAUSED, FULL = "open", "paused", "flow paused", "full"


@dataclass(frozen=True, slots=True)
class SeenQueue:
    """A queue with its figures; `why` is the cause of a wait, "" where nothing waits."""

    queue: Any
    figures: QueueState
    state: str
    curve: Curve
    why: str
    # Its messages are of a flow that was deleted, and it feeds no step.
    is_of_deleted_flow: bool


def seen_queues(
    queues: QuerySet[Queue], unreadable: Mapping[str, str] = NONE_UNREADABLE
) -> dict[int, SeenQueue]:
    """Read these queues, by their ids, with a bounded number of queries.

    `unreadable`: why messages cannot be read, by the names of queues.
    """
    snapshot = QueueSnapshot(queues)
    now = snapshot.now
    states = {pk: state_of(queue, now) for pk, queue in snapshot.queues.items()}
    for pk, state in states.items():
        if _is_filled(state) and (oldest := snapshot.oldest_at(pk)):
            state.ready_for = now - oldest
    flows = {state.flow for state in states.values() if state.flow}
    steps = {state.step for state in states.values() if state.step}
    found = curves(MINUTES, now, flows, steps, with_durations=False)
    without_step = [pk for pk, state in states.items() if not state.step and _is_filled(state)]
    deleted = _of_deleted_flows(without_step)
    return {
        pk: SeenQueue(
            queue=snapshot.queues[pk],
            figures=state,
            state=_state(state, snapshot.queues[pk]),
            curve=found[state.flow, state.step],
            why=_why(snapshot, state, unreadable),
            is_of_deleted_flow=pk in deleted,
        )
        for pk, state in states.items()
    }


def _why(snapshot: QueueSnapshot, state: QueueState, unreadable: Mapping[str, str]) -> str:
    if not _is_filled(state):
        return ""
    causes = (snapshot.why_queue(state.pk), unreadable.get(state.name))
    return " ".join(each for each in causes if each)


def _is_filled(state: QueueState) -> bool:
    return bool(state.depth or state.delayed)


def _state(state: QueueState, queue: Queue) -> str:
    if queue.paused:
        return PAUSED
    if state.is_paused:
        return FLOW_PAUSED
    return FULL if state.taken >= state.size else OPEN


def _of_deleted_flows(ids: list[int]) -> set[int | None]:
    if not ids:
        return set()
    steps = StepVersion.objects.filter(queue__in=ids, flow_version__flow=None)
    return set(steps.values_list("queue", flat=True).distinct())
