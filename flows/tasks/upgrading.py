"""Move messages that wait to the newest version of their flow, as a user has chosen at a save.

A message goes to the step of the same name, where that has the same queue, and its run has the new
version then. Others finish on their version: those that a worker has, those whose script waits or
whose outputs wait for room, and those whose step is gone or has another queue, or other steps and
joins before it: a step would run twice or never. A branch goes on where those behind it are the
same as before, too; its run keeps its version, for other branches may be anywhere.

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
from flows.models.users import all_users
from flows.plan import step_plan
from flows.store import store
from scripts.models import Script

SLICE_SECONDS = 1.0
# The messages in one transaction: their queue is locked meanwhile.
BATCH = 300
COLUMNS = ("pk", "step_id", "is_branch")

# Where messages wait: their step, and whether they are branches of their runs.
Place = tuple[int, bool]
# The names of steps that follow each other, and whether they are joins.
Path = tuple[tuple[str, bool], ...]
# The queue of a step, and the steps up to it.
Key = tuple[int, Path]


def upgrade_waiting(flow: Flow, *, user: Any) -> None:
    """Have the messages of the flow that wait go on with the version that it has now.

    The caller has saved the flow or a script of it, in the transaction that is open.
    """
    version = flow.make_version(user)
    if _older(version).exists():
        _queue(version.pk, user.pk if user else None)


def upgrade_runs_of(script: Script, user: Any) -> None:
    """Do so for each flow that uses the script, which was saved in the open transaction."""
    for flow in Flow.objects.filter(steps__script=script).distinct():
        upgrade_waiting(flow, user=user)


def _queue(version_id: int, user_key: Any, after: UUID | None = None, *counts: int) -> None:
    given = (version_id, user_key, after, *counts)
    async_task("flows.tasks.upgrading.go_on", *given, task_name="upgrade waiting runs", save=False)


def go_on(
    version_id: int, user_key: Any, after: UUID | None, moved: int = 0, in_pass: int = 0
) -> None:
    """Move further messages. This is the function of the django-q2 task.

    `in_pass`: how many this pass through all messages has moved. Behind one that has moved any
    comes another, which finds those that an earlier upgrade has moved behind the first.
    """
    version = FlowVersion.objects.select_related("flow").filter(pk=version_id).first()
    if version is None or version.flow is None:
        return
    targets, queues = _targets(version)
    ends_at = time.monotonic() + SLICE_SECONDS
    while True:
        rows = _waiting(queues, after)
        by_place: defaultdict[Place, list[UUID]] = defaultdict(list)
        for pk, step_id, is_branch in rows:
            by_place[step_id, is_branch].append(pk)
        for place in sorted(by_place.keys() & targets.keys()):
            count = _move(by_place[place], place, targets[place], version)
            moved, in_pass = moved + count, in_pass + count
        if len(rows) == BATCH:
            after = rows[-1][0]
        elif in_pass:
            after, in_pass = None, 0
        else:
            break
        if time.monotonic() >= ends_at:
            _queue(version_id, user_key, after, moved, in_pass)
            return
    user = all_users().filter(pk=user_key).first()
    told = {"version": version.number, "messages moved": moved}
    audit.record("upgrade", version.flow, after=told, user=user)


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
    return targets, {queue_id for queue_id, _ in new}


def _steps_of(versions: Iterable[FlowVersion]) -> Iterator[tuple[int, Key, Path]]:
    """Yield each step with a queue, what a step has to be alike in, and the steps behind it."""
    steps = StepVersion.objects.filter(flow_version__in=versions).order_by("position")
    by_version: defaultdict[int, list[StepVersion]] = defaultdict(list)
    for step in steps:
        by_version[step.flow_version_id].append(step)
    for found in by_version.values():
        path = tuple((step.name, step.join) for step in found)
        for number, step in enumerate(found, 1):
            if step.queue_id is not None:
                yield step.pk, (step.queue_id, path[:number]), path[number:]


def _waiting(queues: set[int], after: UUID | None) -> list[tuple[UUID, int, bool]]:
    """Return the next messages in the order of their ids, each with its place."""
    messages = Message.objects.filter(queue__in=queues).order_by("pk")
    if after:
        messages = messages.filter(pk__gt=after)
    return list(messages.annotate(is_branch=Q(branch__gt="")).values_list(*COLUMNS)[:BATCH])


def _move(ids: list[UUID], old: Place, new: int, version: FlowVersion) -> int:
    """Return how many were moved. What an operator is about to take is locked, and stays."""
    step_id, is_branch = old
    with store().database.transaction():
        # A claim has room kept behind the step that it takes messages of. No further lock is
        # waited for.
        store().counters.lock([step_plan(step_id).queue_id])
        waiting = Message.objects.filter(
            pk__in=ids, step=step_id, queue__isnull=False, waiting=None, pending_outputs=False
        )
        if not is_branch:
            runs = Run.objects.filter(pk__in=waiting.values_list("run_id", flat=True))
            runs = runs.select_for_update(skip_locked=True, of=("self",), no_key=True)
            waiting = waiting.filter(run__in=list(runs.values_list("pk", flat=True)))
        free = waiting.select_for_update(skip_locked=True, of=("self",))
        found = dict(free.values_list("pk", "run_id"))
        Message.objects.filter(pk__in=found).update(step=new)
        if not is_branch:
            Run.objects.filter(pk__in=found.values()).update(flow_version=version)
    return len(found)
