"""A filter of dead letters, and its result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.db.models import Count, Max, Q, Value
from django.db.models.functions import Left, Upper

from flows.models import DeadLetter, FlowVersion, Reprocessing, Step, StepVersion
from flows.models.payload_text import GroupedText, is_encrypted
from flows.store.letter_case import in_both_cases

if TYPE_CHECKING:
    from flows.models.dead_letter import DeadLetterQuerySet


# Characters of an error, and of a message, that a search reads.
LONGEST_SEARCHED = 8192
_ERROR_CLASS = cast(GroupedText, DeadLetter._meta.get_field("error_class"))


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """A filter of dead letters. A part that is None does not restrict it."""

    flow_name: str | None = None
    queue: str | None = None
    reason: str | None = None
    # What scripts have named it.
    code: str | None = None
    dead_after: datetime | None = None
    dead_before: datetime | None = None
    step: str | None = None
    error_class: str | None = None
    # The name of the script of the step.
    script: str | None = None
    # In the error or the message, in small or capital letters.
    text: str | None = None
    # Chosen ones, by their ids.
    ids: tuple[int, ...] | None = None

    def document(self) -> dict[str, Any]:
        """Return the filter as JSON data, which is stored."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.ids is not None:
            given["ids"] = list(self.ids)
        return {n: v.isoformat() if isinstance(v, datetime) else v for n, v in given.items()}

    @classmethod
    def of(cls, document: dict[str, Any]) -> DeadLetterFilter:
        """Make the filter from the data of `document`."""
        given = {name: document[name] for name in cls.__slots__ if name in document}
        for name in ("dead_after", "dead_before"):
            if name in given:
                given[name] = datetime.fromisoformat(given[name])
        if "ids" in given:
            given["ids"] = tuple(given["ids"])
        return cls(**given)

    def open(self, flow_ids: Collection[int] | None) -> DeadLetterQuerySet:
        """Return the open dead letters that match, of these flows alone; None for all flows."""
        letters = self.restrict(DeadLetter.objects.open())
        if flow_ids is not None:
            letters = letters.filter(step__flow_version__flow__in=flow_ids)
        return letters

    def restrict(self, letters: DeadLetterQuerySet) -> DeadLetterQuerySet:
        """Return those of the dead letters that match."""
        if steps := self._steps():
            letters = letters.filter(step__in=StepVersion.objects.filter(steps))
        plain: dict[str, Any] = {"reason": self.reason}
        if self.error_class is not None:
            plain["error_class__in"] = _ERROR_CLASS.forms(self.error_class)
        plain |= {"code": self.code}
        plain |= {"dead_at__gte": self.dead_after, "dead_at__lt": self.dead_before}
        plain |= {"pk__in": self.ids}
        letters = letters.filter(**{name: v for name, v in plain.items() if v is not None})
        return letters if self.text is None else with_text(letters, self.text)

    def _steps(self) -> Q:
        """Return the condition for the versions of steps, which are few."""
        condition = Q()
        if self.flow_name is not None:
            versions = FlowVersion.objects.filter(FlowVersion.of_flow(self.flow_name))
            condition &= Q(flow_version__in=versions)
        if self.queue is not None:
            # By its name now, or by the one that it had, which a dead letter shows.
            condition &= Q(queue_name=self.queue) | Q(queue__name=self.queue)
        if self.step is not None:
            condition &= Q(name=self.step)
        if self.script is not None:
            condition &= Q(script_version__script__name=self.script)
        return condition


def with_text(letters: DeadLetterQuerySet, text: str) -> DeadLetterQuerySet:
    """Return the dead letters with the text in their error or message, whatever its case.

    Those that are encrypted are not searched.
    """
    letters = letters.alias(
        error_text=Upper(Left("error", LONGEST_SEARCHED)),
        body_text=Upper(Left("body", LONGEST_SEARCHED)),
    )
    in_error, in_body = Q(), Q()
    for each in in_both_cases(text):
        # SQLite and PostgreSQL differ in what they take for a capital letter.
        in_error |= Q(error_text__contains=Upper(Value(each)))
        in_body |= Q(body_text__contains=Upper(Value(each)))
    is_found = in_error & ~is_encrypted("error") | in_body & ~is_encrypted("body")
    return letters.filter(is_found)


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


@dataclass(frozen=True, slots=True)
class NewerScript:
    """A step whose script was saved anew since messages died at it."""

    step_name: str
    died_with: str
    newest: str


def newer_scripts(letters: DeadLetterQuerySet) -> list[NewerScript]:
    """Return the steps of these dead letters that have a newer version of their script now."""
    ids = letters.order_by().values("step").distinct()
    versions = StepVersion.objects.filter(pk__in=ids).select_related(
        "script_version__script", "flow_version"
    )
    found = list(versions.order_by("flow_version__flow_name", "name", "pk"))
    steps = Step.objects.filter(flow__in={each.flow_version.flow_id for each in found})
    latest = Max("script__versions__number")
    rows = steps.values_list("flow", "name", "script", "script__name").annotate(latest=latest)
    present = {(flow, name): newest for flow, name, *newest in rows}
    newer: dict[tuple[int | None, str], NewerScript] = {}
    for each in found:
        key = (each.flow_version.flow_id, each.name)
        own = each.script_version
        newest = present.get((key[0] or 0, each.name))
        if newest is None or newest == [own.script_id, newest[1], own.number]:
            continue
        newer[key] = NewerScript(each.name, str(own), f"{newest[1]} v{newest[2]}")
    return list(newer.values())
