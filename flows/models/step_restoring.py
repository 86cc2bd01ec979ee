"""Restores the steps of an earlier version of a flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from flows.models.flow import Flow, Step
from flows.models.starting import present_names
from flows.models.version import FlowVersion, StepVersion


@dataclass(frozen=True, slots=True)
class Missing:
    """A script or a queue of a step that cannot be used: `part`, and a sentence why."""

    step: StepVersion
    part: str
    why: str

    @property
    def key(self) -> str:
        return f"{self.part}-{self.step.pk}"


def missing_parts(version: FlowVersion) -> list[Missing]:
    """Return what the version's steps had and the flow cannot have again as it is."""
    steps = version.steps.select_related(
        "flow_version__flow", "script_version__script", "queue__step"
    )
    return [missing for step in steps for missing in _missing(step, version.flow_id)]


def restore_steps(
    version: FlowVersion, author: Any = None, instead: Mapping[str, Any] | None = None
) -> FlowVersion:
    """Make the version's steps those of its flow again, and return the version that this became.

    Names, order, scripts, queues, threads, joins and which payloads are kept are restored; of the
    flows that it may start those that the flow may still start. Scripts keep their present code,
    because other flows may use them. `instead` has the script or queue for each that is missing, by
    its key. Raises ValidationError where another is gone or feeds another
    flow, and Flow.DoesNotExist.
    """
    instead = instead or {}
    if version.flow_id is None:
        raise Flow.DoesNotExist
    with transaction.atomic():
        flow = Flow.objects.select_for_update().get(pk=version.flow_id)
        steps = list(version.steps.select_related("script_version__script", "queue"))
        missing = [each for step in steps for each in _missing(step, flow.pk)]
        if faults := [each.why for each in missing if each.key not in instead]:
            raise ValidationError(faults)
        wanted_parts = {step.pk: _parts(step, instead) for step in steps}
        present: dict[tuple[str, int | None], Step] = {
            (step.name, step.queue_id): step for step in flow.steps.all()
        }
        wanted = {(step.name, wanted_parts[step.pk][1]) for step in steps}
        for key, step in present.items():
            if key not in wanted:
                step.delete()
        for position, then in enumerate(steps):
            script_id, queue_id = wanted_parts[then.pk]
            step = present.get((then.name, queue_id)) or Step(flow=flow)
            _restore(step, then, position, script_id, queue_id)
        # What it may start only its page adds, where the user's rights are checked.
        names = present_names(version.may_start, version.created_at).values()
        kept = [name for name in names if name in flow.may_start]
        if (flow.keep, flow.may_start) != (version.keep, kept):
            flow.keep, flow.may_start = version.keep, kept
            flow.save(update_fields=["keep", "may_start"])
        return flow.make_version(author=author)


def starts_left_out(version: FlowVersion, restored: FlowVersion) -> list[str]:
    """Say which flows the scripts of a version could start, and those of what was restored not."""
    present = present_names(version.may_start, version.created_at)
    gone = [name for name, now in present.items() if now is None]
    lost = [now for now in present.values() if now and now not in restored.may_start]
    said = [f"The flow {name!r}, which it could start, was deleted." for name in gone]
    if lost:
        said.append(f"It could start {', '.join(lost)}: its page gives that right again.")
    return said


def _missing(step: StepVersion, flow_id: int | None) -> Iterator[Missing]:
    if step.script_version.script is None:
        name = step.script_version.script_name
        yield Missing(step, "script", f"The script {name!r} was removed.")
    if step.queue is None:
        yield Missing(step, "queue", f"The queue {step.queue_name!r} was removed.")
    elif (fed := step.queue.fed_step) is not None and fed.flow_id != flow_id:
        why = f"The queue {step.queue.name!r} feeds a step of another flow now."
        yield Missing(step, "queue", why)


def _parts(step: StepVersion, instead: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the ids of the script and the queue that the step gets."""
    script, queue = instead.get(f"script-{step.pk}"), instead.get(f"queue-{step.pk}")
    return (
        script.pk if script else step.script_version.script_id,
        queue.pk if queue else step.queue_id,
    )


def _restore(
    step: Step, then: StepVersion, position: int, script_id: int | None, queue_id: int | None
) -> None:
    values = {
        "position": position,
        "name": then.name,
        "script_id": script_id,
        "queue_id": queue_id,
        "threads": then.threads or step.threads,
        "join": then.join,
        "goes_to": then.goes_to,
    }
    changed = [name for name, value in values.items() if getattr(step, name) != value]
    if step.pk is not None and not changed:
        return
    for name, value in values.items():
        setattr(step, name, value)
    step.save()
