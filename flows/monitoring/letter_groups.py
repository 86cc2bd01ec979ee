"""Open dead letters by the class of their error: how many, since when, and when they came."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, IntegerField, Max, Min
from django.db.models.expressions import Func

from flows.models import DeadLetter, StepVersion

if TYPE_CHECKING:
    from flows.models.dead_letter import DeadLetterQuerySet

# Older letters than these are not counted: it would take too long.
MOST_LETTERS = 100_000
CURVE_SECONDS = 24 * 3600
SLOTS = 48
SLOT_SECONDS = CURVE_SECONDS // SLOTS


@dataclass(slots=True)
class LetterGroup:
    """Dead letters at one step with one error class; None: letters that have no class yet."""

    flow_name: str
    step_name: str
    error_class: str | None
    first_at: datetime
    last_at: datetime
    count: int = 0
    # By half an hour of the last day, the oldest first.
    curve: list[int] = field(default_factory=lambda: [0] * SLOTS)

    def add(self, count: int, first_at: datetime, last_at: datetime) -> None:
        self.first_at = min(self.first_at, first_at)
        self.last_at = max(self.last_at, last_at)
        self.count += count


@dataclass(frozen=True, slots=True)
class LetterGroups:
    """The groups, those with the newest letters first; `is_cut`: older letters are left out."""

    groups: list[LetterGroup]
    is_cut: bool

    @property
    def letters(self) -> int:
        return sum(group.count for group in self.groups)


class Slot(Func):
    """The number of half hours since 1970."""

    output_field = IntegerField()
    template = f"CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / {SLOT_SECONDS}) AS integer)"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"CAST(strftime('%%%%s', %(expressions)s) AS integer) / {SLOT_SECONDS}"
        return self.as_sql(compiler, connection, template=template, **context)


def letter_groups(letters: DeadLetterQuerySet, now: datetime) -> LetterGroups:
    """Group these open dead letters by step and error class, the newest of them alone."""
    newest = DeadLetter.objects.aggregate(newest=Max("pk"))["newest"] or 0
    oldest = newest - MOST_LETTERS
    counted = letters.filter(pk__gt=oldest).order_by()
    rows = list(
        counted.values("step", "error_class").annotate(
            count=Count("pk"), first_at=Min("dead_at"), last_at=Max("dead_at")
        )
    )
    names = _names({row["step"] for row in rows})
    groups: dict[Any, LetterGroup] = {}
    for row in rows:
        key = (*names[row["step"]], row["error_class"])
        if key not in groups:
            groups[key] = LetterGroup(*key, row["first_at"], row["last_at"])
        groups[key].add(row["count"], row["first_at"], row["last_at"])
    _add_curves(groups, names, counted, now)
    found = sorted(groups.values(), key=lambda group: group.last_at, reverse=True)
    return LetterGroups(found, is_cut=letters.filter(pk__lte=oldest).exists())


def _names(steps: set[int]) -> dict[int, tuple[str, str]]:
    """Return the names of flow and step by the version of the step."""
    rows = StepVersion.objects.filter(pk__in=steps)
    named = rows.values_list("pk", "flow_version__flow_name", "name")
    return {pk: (flow_name, name) for pk, flow_name, name in named}


def _add_curves(
    groups: dict[Any, LetterGroup],
    names: dict[int, tuple[str, str]],
    letters: DeadLetterQuerySet,
    now: datetime,
) -> None:
    since = now - timedelta(seconds=CURVE_SECONDS)
    rows = (
        letters.filter(dead_at__gte=since)
        .annotate(slot=Slot("dead_at"))
        .values_list("step", "error_class", "slot")
        .annotate(count=Count("pk"))
    )
    first = int(now.timestamp()) // SLOT_SECONDS - SLOTS + 1
    for step, error_class, slot, count in rows:
        group = groups.get((*names.get(step, ("", "")), error_class))
        if group is not None and slot >= first:
            group.curve[min(slot - first, SLOTS - 1)] += count
