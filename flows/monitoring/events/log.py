"""What is new for those who follow events: one look for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from flows.models import QuietEnd, StepRun, StepVersion
from flows.monitoring.events.page import Position
from flows.monitoring.events.selection import Selection
from flows.monitoring.events.settled import Settled
from flows.plan import step_plan


@dataclass(frozen=True, slots=True)
class News:
    """How far events can be read now, and which runs and flows have new ones."""

    upto: Position
    run_ids: frozenset[UUID] = frozenset()
    flow_ids: frozenset[int] = frozenset()
    # A run has ended without an attempt, or a flow is not known: any flow may have new ones.
    is_of_any_flow: bool = False

    def concern(self, selection: Selection) -> bool:
        if selection.run_id:
            return selection.run_id in self.run_ids
        return self.is_of_any_flow or any(map(selection.has_flow, self.flow_ids))


class EventLog:
    """Looks for new events. A look costs two queries of primary keys, however many follow."""

    def __init__(self) -> None:
        self._attempts = Settled(StepRun, "run_id", "step_id")
        self._ends = Settled(QuietEnd, "run")

    def look(self) -> News | None:
        """Return what is new; None as long as it is not known from where on events are complete."""
        attempts, ends = self._attempts.look(), self._ends.look()
        if self._attempts.upto is None or self._ends.upto is None:
            return None
        flows = {step_id: _flow_of(step_id) for step_id in {row[1] for row in attempts}}
        return News(
            Position(self._attempts.upto, self._ends.upto),
            frozenset([row[0] for row in attempts] + [row[0] for row in ends]),
            frozenset(flow_id for flow_id in flows.values() if flow_id),
            is_of_any_flow=bool(ends) or not all(flows.values()),
        )


def _flow_of(step_id: int) -> int:
    """Return the flow of a step version, 0 if there is none any more."""
    try:
        return step_plan(step_id).site.flow_id
    except StepVersion.DoesNotExist:
        return 0
