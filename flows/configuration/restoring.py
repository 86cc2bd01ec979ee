"""Restores a deleted flow from its history, with its steps.

Scripts and queues that are there are used: by their id, else by their name. Those that are gone are
restored from their history, too. What cannot be restored is told, and then nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from flows.access import audit
from flows.access.rights import rights_by_flow
from flows.models import (
    AlertThresholds,
    Flow,
    FlowSchedule,
    FlowVersion,
    Queue,
    RoleMapping,
    Step,
    StepVersion,
)
from flows.models.starting import present_names
from scripts.grants import PRIVATE, missing_to_save
from scripts.models import Library, Script, ScriptVersion

# Steps are deleted in the transaction that deletes their flow.
SAME_DELETION = timedelta(seconds=10)
MOST_SHOWN = 100


@dataclass(slots=True)
class Restoration:
    """A deleted flow: the records of it and of what went with it, and what is in the way."""

    record: Any
    steps: list[Any] = field(default_factory=list)
    mappings: list[Any] = field(default_factory=list)
    schedules: list[Any] = field(default_factory=list)
    thresholds: list[Any] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # What is restored beside the flow, by name.
    scripts: list[str] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.record.name)


class CannotRestore(Exception):
    """The flow cannot be restored as it was; `problems` has the reasons."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def deleted_flows() -> list[Any]:
    """Return the records of the newest deletions of flows that are not there again."""
    records = Flow.history.filter(history_type="-").order_by("-history_date", "-history_id")
    gone = records.exclude(id__in=Flow.objects.values("pk"))
    return list(gone.select_related("history_user")[:MOST_SHOWN])


def plan_restoration(record: Any, user: Any) -> Restoration:
    """Return what would be restored, and what is in the way."""
    plan = Restoration(
        record,
        _steps_of(record),
        _rows_of(RoleMapping, record),
        _rows_of(FlowSchedule, record),
        _thresholds_of(record),
    )
    if Flow.objects.filter(pk=record.id).exists():
        plan.problems.append("It is there again.")
    elif Flow.objects.filter(name=record.name).exists():
        plan.problems.append(f"Another flow has the name {record.name}: rename that one first.")
    if record.private_webhooks and not user.has_perm(PRIVATE.permission):
        plan.problems.append(
            "Its webhooks may call private addresses. Only a user with the permission"
            f" {PRIVATE.permission!r} may grant that."
        )
    for step in plan.steps:
        plan.problems += _script_problems(plan, step, user)
        plan.problems += _queue_problems(plan, step)
    return plan


def restore(record: Any, user: Any) -> Flow:
    """Restore the flow as it was when it was deleted. Raises CannotRestore."""
    with transaction.atomic(), audit.acting("restore", user=user):
        plan = plan_restoration(record, user)
        if plan.problems:
            raise CannotRestore(plan.problems)
        flow: Flow = record.instance
        flow.paused_by = None
        present = present_names(flow.may_start, record.history_date)
        # It may have been able to start itself.
        present[flow.name] = flow.name
        flow.may_start = [name for each in flow.may_start if (name := present[each])]
        flow.save(force_insert=True)
        for step in plan.steps:
            _restore_step(flow, step)
        for other in (*plan.schedules, *plan.thresholds):
            _restore_row(flow, other)
        _restore_mappings(flow, plan.mappings, user)
        _take_versions(flow, record)
        flow.make_version(author=user)
        # After the new version: workers may have plans of the old ones, where there is no queue.
        for step in plan.steps:
            _take_step_versions(step)
    return flow


# --- what was there ----------------------------------------------------------------------------


def _steps_of(record: Any) -> list[Any]:
    found = Step.history.filter(history_type="-", flow_id=record.id, **_same_deletion(record))
    versions = FlowVersion.objects.filter(flow=None, flow_name=record.name)
    last = versions.filter(created_at__lte=record.history_date).order_by("created_at").last()
    if last is not None:
        # Without a step that was removed a moment before.
        found = found.filter(name__in=last.steps.values("name"))
    return sorted(_newest(found), key=lambda each: (each.position, each.id))


def _rows_of(model: Any, record: Any, place: str = "flow") -> list[Any]:
    """Return the records of the rows of a model that were deleted with the flow or queue."""
    of_place = {f"{place}_id": record.id}
    found = model.history.filter(history_type="-", **of_place, **_same_deletion(record))
    return _newest(found)


def _thresholds_of(record: Any, place: str = "flow") -> list[Any]:
    """Return the record of the last ones, if there were any: a flow or queue has them once."""
    return _rows_of(AlertThresholds, record, place)[-1:]


def _newest(records: Any) -> list[Any]:
    """Return the newest record of each row: the flow may have been deleted twice in the time."""
    in_order = records.order_by("history_date", "history_id")
    return list({each.id: each for each in in_order}.values())


def _same_deletion(record: Any) -> dict[str, Any]:
    date = record.history_date
    return {"history_date__range": (date - SAME_DELETION, date + SAME_DELETION)}


def _last_name(model: Any, key: int) -> str:
    record = model.history.filter(id=key).order_by("history_date", "history_id").last()
    return str(record.name) if record else ""


def _present(model: Any, key: int) -> Any:
    """Return the row with the key, else the one that has its last name; None if it is gone."""
    rows = model.objects
    return rows.filter(pk=key).first() or rows.filter(name=_last_name(model, key)).first()


# --- what is in the way ------------------------------------------------------------------------


def _script_problems(plan: Restoration, step: Any, user: Any) -> Iterator[str]:
    if _present(Script, step.script_id) is not None:
        return
    name = _last_name(Script, step.script_id)
    script, gone = script_from_history(step.script_id)
    if script is None:
        yield f"The script {name or step.script_id} of the step {step.name} is gone."
        return
    if gone:
        yield f"Libraries of the script {name} are gone: {', '.join(gone)}."
    for grant in missing_to_save(user, script):
        yield f"The script {name} is gone. {grant}"
    if name not in plan.scripts:
        plan.scripts.append(name)


def _queue_problems(plan: Restoration, step: Any) -> Iterator[str]:
    queue = _present(Queue, step.queue_id)
    if queue is None:
        name = _last_name(Queue, step.queue_id)
        if not name:
            yield f"The queue of the step {step.name} is gone."
        else:
            plan.queues.append(name)
    elif other := queue.fed_step:
        yield (
            f"The queue {queue.name} of the step {step.name} feeds the step {other.name} of the"
            f" flow {other.flow.name} now."
        )


def script_from_history(key: int) -> tuple[Script | None, list[str]]:
    """Return a script that was deleted, not saved yet, and the names of libraries that are gone."""
    record = Script.history.filter(id=key, history_type="-").first()
    if record is None:
        return None, []
    script: Script = record.instance
    versions = ScriptVersion.objects.filter(script=None, script_name=script.name)
    version = versions.order_by("created_at").last()
    names = [each["name"] for each in version.libraries] if version else []
    present = {each.name: each for each in Library.objects.filter(name__in=names)}
    script.libraries = [present[name] for name in names if name in present]
    return script, [name for name in names if name not in present]


# --- restoring ---------------------------------------------------------------------------------


def _restore_step(flow: Flow, record: Any) -> None:
    step: Step = record.instance
    step.flow = flow
    step.script = _present(Script, record.script_id) or _restored_script(record.script_id)
    step.queue = _present(Queue, record.queue_id) or _restored_queue(record.queue_id)
    step.save(force_insert=True)


def _restored_script(key: int) -> Script:
    script, _ = script_from_history(key)
    assert script is not None
    try:
        script.full_clean()
    except ValidationError as error:
        raise CannotRestore([f"The script {script.name}: {' '.join(error.messages)}"]) from error
    script.save(force_insert=True)
    return script


def _restored_queue(key: int) -> Queue:
    record = Queue.history.filter(id=key).order_by("history_date", "history_id").last()
    assert record is not None
    queue: Queue = record.instance
    queue.paused_by = None
    queue.save(force_insert=True)
    for thresholds in _thresholds_of(record, "queue"):
        thresholds.instance.save(force_insert=True)
    return queue


def _restore_row(flow: Flow, record: Any) -> None:
    row: Any = record.instance
    row.flow = flow
    row.save(force_insert=True)


def _restore_mappings(flow: Flow, records: list[Any], user: Any) -> None:
    """Give the roles their rights back, as far as the user may give them."""
    # The right to configure flows is none to give rights to roles.
    may_map = user.has_perm("flows.add_rolemapping")
    own = rights_by_flow(user)[None] if may_map else set()
    for record in records:
        mapping: RoleMapping = record.instance
        if record.right not in own or not Group.objects.filter(pk=record.role_id).exists():
            continue
        if flow.role_mappings.filter(role=record.role_id, right=record.right).exists():
            continue
        mapping.flow = flow
        mapping.save(force_insert=True)


def _take_versions(flow: Flow, record: Any) -> None:
    """Give the flow its versions back, and with them its runs."""
    first = Flow.history.filter(id=record.id).order_by("history_date", "history_id").first()
    since = first.history_date if first else record.history_date
    names = Flow.history.filter(id=record.id).values("name")
    versions = FlowVersion.objects.filter(
        flow=None, flow_name__in=names, created_at__range=(since, record.history_date)
    )
    numbers = list(versions.values_list("number", flat=True))
    # Another flow of that name may have been deleted in the same time.
    if len(numbers) == len(set(numbers)):
        versions.update(flow=flow)


def _take_step_versions(record: Any) -> None:
    """Give the queue of a step back what the deleted one had: dead letters are counted by it."""
    records = Queue.history.filter(id=record.queue_id).order_by("history_date", "history_id")
    first = records.first()
    since = first.history_date if first else record.history_date
    StepVersion.objects.filter(
        queue=None, queue_name__in=records.values("name"), flow_version__created_at__gte=since
    ).update(queue=Step.objects.values_list("queue", flat=True).get(pk=record.id))
