"""Restores the steps of an earlier version of a flow."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from flows.models.flow import Flow, Step
from flows.models.version import FlowVersion, StepVersion


def restore_steps(version: FlowVersion, author: Any = None) -> FlowVersion:
    """Make the version's steps those of its flow again, and return the version that this became.

    Names, order, scripts, queues, threads and joins are restored. Scripts keep their present code,
    because other flows may use them. Raises ValidationError where a script or a queue is gone or
    feeds another flow, and Flow.DoesNotExist.
    """
    if version.flow_id is None:
        raise Flow.DoesNotExist
    with transaction.atomic():
        flow = Flow.objects.select_for_update().get(pk=version.flow_id)
        steps = list(version.steps.select_related("script_version__script", "queue"))
        if faults := [fault for step in steps if (fault := _fault(step, flow))]:
            raise ValidationError(faults)
        present: dict[tuple[str, int | None], Step] = {
            (step.name, step.queue_id): step for step in flow.steps.all()
        }
        wanted = {(step.name, step.queue_id) for step in steps}
        for key, step in present.items():
            if key not in wanted:
                step.delete()
        for position, then in enumerate(steps):
            _restore(present.get((then.name, then.queue_id)) or Step(flow=flow), then, position)
        return flow.make_version(author=author)


def _fault(step: StepVersion, flow: Flow) -> str | None:
    if step.script_version.script is None:
        return f"The script {step.script_version.script_name!r} was removed."
    if step.queue is None:
        return f"The queue {step.queue_name!r} was removed."
    fed = step.queue.fed_step
    if fed is not None and fed.flow_id != flow.pk:
        return f"The queue {step.queue.name!r} feeds a step of another flow now."
    return None


def _restore(step: Step, then: StepVersion, position: int) -> None:
    values = {
        "position": position,
        "name": then.name,
        "script_id": then.script_version.script_id,
        "queue_id": then.queue_id,
        "threads": then.threads or step.threads,
        "join": then.join,
    }
    changed = [name for name, value in values.items() if getattr(step, name) != value]
    if step.pk is not None and not changed:
        return
    for name, value in values.items():
        setattr(step, name, value)
    step.save()
