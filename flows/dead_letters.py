"""A filter of dead letters, and its result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Count, Q

from flows.models import DeadLetter, Reprocessing

if TYPE_CHECKING:
    from flows.models.dead_letter import DeadLetterQuerySet


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """A filter of dead letters. A part that is None does not restrict it."""

    flow_name: str | None = None
    queue: str | None = None
    reason: str | None = None
    dead_after: datetime | None = None
    dead_before: datetime | None = None

    def document(self) -> dict[str, str]:
        """Return the filter as JSON data, which is stored."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {n: v.isoformat() if isinstance(v, datetime) else v for n, v in given.items()}

    @classmethod
    def of(cls, document: dict[str, str]) -> DeadLetterFilter:
        """Make the filter from the data of `document`."""
        after, before = (document.get(name) for name in ("dead_after", "dead_before"))
        return cls(
            document.get("flow_name"),
            document.get("queue"),
            document.get("reason"),
            datetime.fromisoformat(after) if after else None,
            datetime.fromisoformat(before) if before else None,
        )

    def open(self, flow_ids: Collection[int] | None) -> DeadLetterQuerySet:
        """Return the open dead letters that match, of these flows alone; None for all flows."""
        letters = DeadLetter.objects.open().filter(self._condition())
        if flow_ids is not None:
            letters = letters.filter(step__flow_version__flow__in=flow_ids)
        return letters

    def _condition(self) -> Q:
        condition = Q()
        if self.flow_name is not None:
            # A deleted flow, or queue, is found by the name that it had.
            deleted = Q(step__flow_version__flow=None, step__flow_version__flow_name=self.flow_name)
            condition &= deleted | Q(step__flow_version__flow__name=self.flow_name)
        if self.queue is not None:
            deleted = Q(step__queue=None, step__queue_name=self.queue)
            condition &= deleted | Q(step__queue__name=self.queue)
        if self.reason is not None:
            condition &= Q(reason=self.reason)
        if self.dead_after is not None:
            condition &= Q(dead_at__gte=self.dead_after)
        if self.dead_before is not None:
            condition &= Q(dead_at__lt=self.dead_before)
        return condition


@dataclass(frozen=True, slots=True)
class StepCount:
    """The number of dead letters at a step."""

    flow_name: str
    step_name: str
    queue_name: str
    matched: int


@dataclass(frozen=True, slots=True)
class Matched:
    """The result of a filter; `reprocessing` is None in a dry run."""

    matched: int
    steps: list[StepCount]
    reprocessing: Reprocessing | None = None


def count_by_step(letters: DeadLetterQuerySet) -> list[StepCount]:
    """Return the number of these dead letters at each step."""
    names = ("step__flow_version__flow_name", "step__name", "step__queue_name")
    counts = letters.order_by(*names).values_list(*names).annotate(matched=Count("id"))
    return [StepCount(*row) for row in counts]
