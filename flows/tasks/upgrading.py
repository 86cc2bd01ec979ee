"""Move messages that wait to the newest version of their flow, as a user has chosen at a save.

A message goes to the step of the same name, where that has the same queue. Others finish on their
version: those that a worker has, those whose script waits or whose outputs wait for room, and those
whose step is gone, has another queue, or has become the first one or is it no more.

A task works for about a second and queues the next. One that is lost and begins again finds the
messages that are left.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any
from uuid import UUID

from django_q.tasks import async_task

from flows.access import audit
from flows.models import Flow, FlowVersion, Message, StepVersion
from flows.plan import step_plan
from flows.store import store
from scripts.models import Script

SLICE_SECONDS = 1.0
# The messages in one transaction: their queue is locked meanwhile.
BATCH = 300


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
        by_step: defaultdict[int, list[UUID]] = defaultdict(list)
        for pk, step_id in rows:
            by_step[step_id].append(pk)
        for old in by_step.keys() & targets.keys():
            moved |= _move(by_step[old], old, targets[old])
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


def _targets(version: FlowVersion) -> tuple[dict[int, int], set[int]]:
    """Return the new step by each older one, and their queues."""
    steps = version.steps.exclude(queue=None).values_list("name", "queue", "position", "pk")
    new = {(name, queue_id, position == 0): pk for name, queue_id, position, pk in steps}
    older = StepVersion.objects.filter(flow_version__in=_older(version)).exclude(queue=None)
    targets = {}
    for pk, name, queue_id, position in older.values_list("pk", "name", "queue", "position"):
        # The delivery at the first step is what begins a run.
        if (name, queue_id, position == 0) in new:
            targets[pk] = new[name, queue_id, position == 0]
    return targets, {queue_id for _, queue_id, _ in new}


def _waiting(queues: set[int], after: UUID | None) -> list[tuple[UUID, int]]:
    """Return the next messages in the order of their ids, each with its step."""
    messages = Message.objects.filter(queue__in=queues).order_by("pk")
    if after:
        messages = messages.filter(pk__gt=after)
    return list(messages.values_list("pk", "step_id")[:BATCH])


def _move(ids: list[UUID], old: int, new: int) -> bool:
    """Tell whether one was moved. What an operator is about to take stays."""
    with store().database.transaction():
        # A claim has room kept behind the step that it takes messages of.
        store().counters.lock([step_plan(old).queue_id])
        waiting = Message.objects.filter(
            pk__in=ids, step=old, queue__isnull=False, waiting=None, pending_outputs=False
        )
        free = waiting.select_for_update(skip_locked=True, of=("self",))
        found = list(free.values_list("pk", flat=True))
        Message.objects.filter(pk__in=found).update(step=new)
    return bool(found)
