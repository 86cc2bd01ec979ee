"""Move messages that wait to the newest version of their flow, as a user has chosen at a save.

A message goes to the step of the same name, where that has the same queue, and its run has the new
version then. Others finish on their version: those that a worker has, those whose script waits or
whose outputs wait for room, and those whose step is gone, has another queue, or has become the
first one or is it no more. A branch goes on where the steps and joins behind it are the same as
before; its run keeps its version, for other branches may be anywhere.

A task works for about a second and queues the next. One that is lost and begins again finds the
messages that are left.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import Q
from django_q.tasks import async_task

from flows.access import audit
from flows.models import Flow, FlowVersion, Message, Run, StepVersion
from flows.plan import step_plan
from flows.store import store
from scripts.models import Script

SLICE_SECONDS = 1.0
# The messages in one transaction: their queue is locked meanwhile.
BATCH = 300
COLUMNS = ("pk", "step_id", "is_branch")

# Where messages wait: their step, and whether they are branches of their runs.
Place = tuple[int, bool]
# The name of a step, its queue, and whether it is the first one.
Key = tuple[str, int, bool]
# The names of the steps behind one, and whether they are joins.
Ahead = list[tuple[str, bool]]


def upgrade_waiting(flow: Flow, *, user: Any) -> None:
    """Have the messages of the flow that wait go on with the version that it has now.

    The caller has saved the flow or a script of it, in the transaction that is open.
    """
    version = flow.make_version(user)
    if not _older(version).exists():
        return
    audit.record("upgrade", flow, after={"version": version.number}, user=user)
    _queue(version.pk)


def upgrade_runs_of(script: Script, user: Any) -> None:
    """Do so for each flow that uses the script, which was saved in the open transaction."""
    for flow in Flow.objects.filter(steps__script=script).distinct():
        upgrade_waiting(flow, user=user)


def _queue(version_id: int, after: UUID | None = None, moved: bool = False) -> None:
    given = (version_id, after, moved)
    async_task("flows.tasks.upgrading.go_on", *given, task_name="upgrade waiting runs", save=False)


def go_on(version_id: int, after: UUID | None, moved: bool) -> None:
    """Move further messages. This is the function of the django-q2 task.

    `moved`: whether this pass through all messages has moved one. Another pass follows then, which
    finds those that an earlier upgrade has moved behind this one.
    """
    version = FlowVersion.objects.filter(pk=version_id).first()
    if version is None:
        return
    targets, queues = _targets(version)
    if not targets:
        return
    ends_at = time.monotonic() + SLICE_SECONDS
    while True:
        rows = _waiting(queues, after)
        by_step: defaultdict[Place, list[UUID]] = defaultdict(list)
        for pk, step_id, is_branch in rows:
            by_step[step_id, is_branch].append(pk)
        for old in sorted(by_step.keys() & targets.keys()):
            moved |= _move(by_step[old], old, targets[old], version)
        if len(rows) == BATCH:
            after = rows[-1][0]
        elif moved:
            after, moved = None, False
        else:
            return
        if time.monotonic() >= ends_at:
            break
    _queue(version_id, after, moved)


def _older(version: FlowVersion) -> Any:
    """Return the versions whose messages may go on with it: counters are by the flow's name."""
    same = FlowVersion.objects.filter(flow=version.flow_id, flow_name=version.flow_name)
    return same.filter(number__lt=version.number)


def _targets(version: FlowVersion) -> tuple[dict[Place, int], set[int]]:
    """Return the new step by the place of messages that may go there, and their queues."""
    new = {key: (pk, ahead) for pk, key, ahead in _steps_of([version])}
    targets: dict[Place, int] = {}
    for pk, key, ahead in _steps_of(_older(version)):
        if key in new:
            target, new_ahead = new[key]
            targets[pk, False] = target
            if ahead == new_ahead:
                targets[pk, True] = target
    return targets, {queue_id for _, queue_id, _ in new}


def _steps_of(versions: Iterable[FlowVersion]) -> Iterator[tuple[int, Key, Ahead]]:
    """Yield each step with a queue, what a step has to be alike in, and the steps behind it."""
    steps = StepVersion.objects.filter(flow_version__in=versions).order_by("position")
    rows = steps.values_list("flow_version", "pk", "name", "queue", "position", "join")
    by_version: defaultdict[int, list[Any]] = defaultdict(list)
    for version_id, *row in rows:
        by_version[version_id].append(row)
    for found in by_version.values():
        for number, (pk, name, queue_id, position, _) in enumerate(found, 1):
            if queue_id is not None:
                # The delivery at the first step is what begins a run.
                key = (name, queue_id, position == 0)
                yield pk, key, [(each[1], each[4]) for each in found[number:]]


def _waiting(queues: set[int], after: UUID | None) -> list[tuple[UUID, int, bool]]:
    """Return the next messages in the order of their ids, each with its place."""
    messages = Message.objects.filter(queue__in=queues).order_by("pk")
    if after:
        messages = messages.filter(pk__gt=after)
    return list(messages.annotate(is_branch=Q(branch__gt="")).values_list(*COLUMNS)[:BATCH])


def _move(ids: list[UUID], old: Place, new: int, version: FlowVersion) -> bool:
    """Tell whether one was moved. What an operator is about to take stays."""
    step_id, is_branch = old
    with store().database.transaction():
        # A claim has room kept behind the step that it takes messages of.
        store().counters.lock([step_plan(step_id).queue_id])
        waiting = Message.objects.filter(
            pk__in=ids, step=step_id, queue__isnull=False, waiting=None, pending_outputs=False
        )
        free = waiting.select_for_update(skip_locked=True, of=("self",))
        found = dict(free.values_list("pk", "run_id"))
        Message.objects.filter(pk__in=found).update(step=new)
        if not is_branch:
            Run.objects.filter(pk__in=found.values()).update(flow_version=version)
    return bool(found)
