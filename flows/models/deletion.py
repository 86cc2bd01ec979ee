"""Refuses to delete rows of unfinished runs, and rows that the counters include.

Queries, instances and cascades cannot delete them. Without these rows a run would never end, or the
counters would stay wrong. Retention deletes ended runs with all their rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Model, ProtectedError, QuerySet
from django.db.models.signals import pre_delete

from flows.models import (
    BranchEnd,
    ConfigurationRevision,
    DeadLetter,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Run,
    StepRun,
    StepVersion,
)


def connect() -> None:
    for model, why_not in REASONS.items():
        refuse = _refusing(why_not, model in PARTS)
        pre_delete.connect(refuse, sender=model, weak=False, dispatch_uid=f"flows.{model.__name__}")


def _refusing(
    why_not: Callable[[Any, type[Model]], str], goes_with_others: bool
) -> Callable[..., None]:
    def refuse(
        instance: Model, origin: Model | QuerySet[Model] | None = None, **kwargs: Any
    ) -> None:
        """Raise ProtectedError if there is a reason against the deletion."""
        model = origin.model if isinstance(origin, QuerySet) else type(origin or instance)
        if goes_with_others and model is not type(instance):
            return
        if reason := why_not(instance, model):
            raise ProtectedError(reason, {instance})

    return refuse


# --- the reasons: each gets the row, and the model that the deletion started with ---------------


def of_run(run: Run, origin: type[Model]) -> str:
    if run.status == Run.Status.COMPLETED:
        return ""
    if run.status in Run.UNFINISHED:
        return (
            f"The run {run.pk} is {run.status}: cancel it first. Runs that have ended are deleted"
            " when their flow's retention is over."
        )
    # By the two indexes that there are.
    left = Message.objects.of_run(run.pk)
    if not left.exists():
        return ""
    return f"The run {run.pk} is {run.status}, but a message of it is left."


def of_message(message: Message, origin: type[Model]) -> str:
    return (
        f"The message {message.pk} belongs to the run {message.run_id}, which would never end"
        " without it. Cancel the run: that deletes its messages."
    )


def of_dead_letter(letter: DeadLetter, origin: type[Model]) -> str:
    if letter.reprocessed_at is None and letter.discarded_at is None:
        return f"The dead letter {letter.pk} is open: reprocess or discard it."
    return (
        f"The dead letter {letter.pk} shows what became of the run {letter.run_id}, and is"
        " deleted with it."
    )


def of_branch_end(end: BranchEnd, origin: type[Model]) -> str:
    return f"The run {end.run_id} keeps this output until its other branches end."


def of_step_version(step: StepVersion, origin: type[Model]) -> str:
    if origin is StepVersion:
        return f"The step {step} is part of the version {step.flow_version}, which never changes."
    used = Message.objects.filter(step=step).exists() or StepRun.objects.filter(step=step).exists()
    return f"Runs have been at the step {step} of {step.flow_version}." if used else ""


def of_queue(queue: Queue, origin: type[Model]) -> str:
    # Messages were looked for before this transaction had any lock. Whatever adds one counts it in
    # this row, so none comes in from here on until the queue is gone. Others who change the
    # configuration lock the counters behind it, too.
    ConfigurationRevision.lock()
    list(QueueState.objects.select_for_update().filter(pk=queue.pk).values_list("pk"))
    if not Message.objects.filter(queue=queue).exists():
        return ""
    return f"A message has come into the queue {queue} meanwhile."


def of_queue_state(state: QueueState, origin: type[Model]) -> str:
    return f"These are the counters of the queue {state.queue}: they are deleted with it."


def of_totals(totals: FlowTotals, origin: type[Model]) -> str:
    if not Run.objects.filter(flow_version__flow_name=totals.flow_name).exists():
        return ""
    return f"These are the totals of the flow {totals.flow_name!r}, which still has runs."


# Rows of these models are deleted only together with the row that they belong to.
PARTS = (DeadLetter, BranchEnd, QueueState)

REASONS: dict[type[Model], Callable[[Any, type[Model]], str]] = {
    Run: of_run,
    Message: of_message,
    DeadLetter: of_dead_letter,
    BranchEnd: of_branch_end,
    StepVersion: of_step_version,
    Queue: of_queue,
    QueueState: of_queue_state,
    FlowTotals: of_totals,
}
