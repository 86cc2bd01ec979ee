"""Adds, moves and removes steps of a flow, each in one transaction that locks the flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.http import HttpRequest

from flows.admin.step_forms import NEW, NewStepForm
from flows.models import Consumer, DeadLetter, Flow, FlowTotals, FlowVersion, Message, Queue, Step
from flows.models.ways import without_lost_ways
from flows.monitoring.impact import Impact, impact_of
from scripts.admin.site import site
from scripts.models import Script


class StepsChanged(Exception):
    """Another user has added, moved or removed a step of the flow meanwhile."""


def order_of(steps: Iterable[Step]) -> str:
    """Return the order of steps as the page sends it back."""
    return ",".join(str(step.pk) for step in steps)


@contextmanager
def locked(flow: Flow) -> Iterator[list[Step]]:
    """Give the steps of the flow in their order. Other changes of its steps wait."""
    with transaction.atomic():
        Flow.objects.select_for_update().get(pk=flow.pk)
        yield list(Step.objects.filter(flow=flow).order_by("position", "pk"))


def add_step(form: NewStepForm, after: int | None) -> Step:
    """Save what a valid form has: the step with its script and its queue.

    It comes behind the step with the id `after`; 0: first; None, or no such step: last.
    """
    cleaned, flow = form.cleaned_data, form.flow
    with locked(flow) as steps:
        script = _made(form, Script) if cleaned["script_choice"] == NEW else cleaned["script"]
        queue = _made(form, Queue) if cleaned["queue_choice"] == NEW else cleaned["queue"]
        step = Step(
            flow=flow,
            name=cleaned["name"],
            script=script,
            queue=queue,
            threads=cleaned["threads"],
            join=cleaned["join"],
        )
        steps.insert(_place_behind(steps, after), step)
        _number(steps)
        _note(form.request, flow, {"added": {"name": "step", "object": str(step)}})
    return step


@dataclass(frozen=True, slots=True)
class Move:
    """A step that goes from a place to another one, both from 0."""

    step: Step
    old: list[Step]
    new: list[Step]

    @property
    def from_place(self) -> int:
        return self.old.index(self.step)

    @property
    def to_place(self) -> int:
        return self.new.index(self.step)

    @property
    def lost_ways(self) -> list[tuple[Step, str]]:
        """The steps with the later steps that they cannot go to any more."""
        places = {each.name: place for place, each in enumerate(self.new)}
        return [
            (each, name)
            for place, each in enumerate(self.new)
            for name in each.goes_to
            if places.get(name, -1) <= place
        ]


def planned_move(steps: list[Step], step: Step, place: int) -> Move:
    others = [each for each in steps if each != step]
    place = min(max(place, 0), len(others))
    return Move(step, steps, [*others[:place], step, *others[place:]])


def move_step(
    request: HttpRequest, flow: Flow, step: Step, place: int, seen: str, *, is_confirmed: bool
) -> tuple[Move, Impact]:
    """Put the step at a place from 0, unless that touches more and is not confirmed.

    Return the move and what it touches, which is false when it was made. Raises StepsChanged.
    """
    with locked(flow) as steps:
        if seen and seen != order_of(steps):
            raise StepsChanged
        move = planned_move(steps, step, place)
        if move.from_place == move.to_place:
            return move, Impact()
        if not is_confirmed and (impact := impact_of(step, {"position"})):
            return move, impact
        _number(move.new)
        change = {"name": "step", "object": str(step), "fields": ["position"]}
        _note(request, flow, {"changed": change})
    return move, Impact()


def remove_step(request: HttpRequest, step: Step, *, with_queue: bool) -> None:
    """Remove the step, and its queue if that is asked for, which the caller has allowed."""
    flow, queue, name = step.flow, step.queue, str(step)
    with locked(flow) as steps:
        step.delete()
        _number([each for each in steps if each.pk != step.pk and each.queue_id != queue.pk])
        if with_queue:
            _admin_of(Queue).log_deletions(request, Queue.objects.filter(pk=queue.pk))
            queue.delete()
        _note(request, flow, {"deleted": {"name": "step", "object": name}})


def why_queue_stays(step: Step) -> str | None:
    """Return why the queue of the step cannot be removed with it, None if it can be."""
    state = step.queue.state
    if state.depth or state.reserved or state.delayed:
        return "It has messages."
    if Message.objects.filter(queue=step.queue_id).exists():
        return "It has messages."
    if Consumer.objects.filter(queue=step.queue_id).exists():
        return "A worker looks for messages in it: try again in a few seconds."
    if unfinished_runs(step.flow):
        return "Runs are under way that go to it."
    if DeadLetter.objects.open().filter(step__queue=step.queue_id).exists():
        return "It has open dead letters, which are reprocessed through it."
    return None


def unfinished_runs(flow: Flow) -> int:
    names = FlowVersion.objects.filter(flow=flow).values("flow_name")
    sums = FlowTotals.objects.filter(flow_name__in=names).aggregate(
        **{each: Sum(each, default=0) for each in ("accepted", "completed", "failed", "cancelled")}
    )
    return max(sums["accepted"] - sums["completed"] - sums["failed"] - sums["cancelled"], 0)


def _made(form: NewStepForm, model: Any) -> Any:
    """Save the new row of a model as its own page does."""
    found, row_form = _admin_of(model), form.made[model._meta.model_name]
    row = row_form.save(commit=False)
    found.save_model(form.request, row, row_form, change=False)
    found.log_addition(form.request, row, [{"added": {}}])
    return row


def _place_behind(steps: list[Step], after: int | None) -> int:
    if after == 0:
        return 0
    ids = [step.pk for step in steps]
    return ids.index(after) + 1 if after in ids else len(steps)


def _number(steps: list[Step]) -> None:
    for step in without_lost_ways(steps):
        if step.pk is not None:
            step.save(update_fields=["goes_to"])
    for position, step in enumerate(steps):
        if step.pk is None:
            step.position = position
            step.save()
        elif step.position != position:
            step.position = position
            step.save(update_fields=["position"])


def _note(request: HttpRequest, flow: Flow, change: dict[str, Any]) -> None:
    _admin_of(Flow).log_change(request, flow, [change])
    flow.make_version(author=request.user)


def _admin_of(model: Any) -> Any:
    return site.get_model_admin(model)
