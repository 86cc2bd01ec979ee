"""The steps that the script of a step may go to: later ones, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.models.flow import Step


def later_steps(step: Step) -> list[str]:
    """Return the names of the steps behind a step, in their order."""
    names = list(step.flow.steps.order_by("position", "pk").values_list("pk", "name"))
    places = [pk for pk, _ in names]
    after = places.index(step.pk) + 1 if step.pk in places else len(names)
    return [name for _, name in names[after:]]


def without_lost_ways(steps: Sequence[Step]) -> Iterable[Step]:
    """Take out ways to what is no later step any more, and yield the steps that had any."""
    for number, step in enumerate(steps):
        later = {each.name for each in steps[number + 1 :]}
        if lost := set(step.goes_to) - later:
            step.goes_to = [name for name in step.goes_to if name not in lost]
            yield step


def rename_way(step: Step, old_name: str) -> None:
    """Let other steps of the flow go to a step by its new name."""
    if old_name == step.name:
        return
    for other in step.flow.steps.exclude(pk=step.pk):
        if old_name in other.goes_to:
            other.goes_to = [step.name if name == old_name else name for name in other.goes_to]
            other.save(update_fields=["goes_to"])
