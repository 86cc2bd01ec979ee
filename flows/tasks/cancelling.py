"""Cancel many runs by a filter: some at once, the others by tasks of django-q2.

A task works for about a second and queues the next, which goes on behind the last run that was
looked at. The order needs no row: a task that is lost and begins again finds the same runs, without
those that have ended meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from django_q.tasks import async_task

from flows import engine
from flows.access.rights import runs_to_cancel
from flows.models import Run
from flows.models.users import all_users
from flows.run_filter import RunFilter

BATCH = 100
SLICE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Cancelling:
    """What a filter found, by flow, and how many of the runs were cancelled by now."""

    by_flow: dict[str, int]
    cancelled: int = 0
    is_complete: bool = False

    @property
    def matched(self) -> int:
        return sum(self.by_flow.values())


def count_to_cancel(wanted: RunFilter, user: Any) -> dict[str, int]:
    """Return the number of runs that go on, match and may be cancelled by the user, by flow."""
    names = _runs(wanted, user).order_by("flow_version__flow_name")
    counted = names.values_list("flow_version__flow_name").annotate(count=Count("pk"))
    return dict(counted)


def cancel_many(
    wanted: RunFilter, by_flow: dict[str, int], *, user: Any, reason: str = ""
) -> Cancelling:
    """Cancel the runs, which were counted by their flow. Returns after a second at most.

    Runs that are started later are not part of it. Tasks cancel those that are left, with the
    rights that the user has by then.
    """
    newest = Run.objects.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None or not by_flow:
        return Cancelling(by_flow, is_complete=True)
    cancelled, last = _cancel_some(wanted, user, newest, None, reason)
    if last is not None:
        _queue(wanted, user.pk, newest, last, reason)
    return Cancelling(by_flow, cancelled, is_complete=last is None)


def go_on(wanted: dict[str, Any], user_key: Any, newest: UUID, after: UUID, reason: str) -> None:
    """Cancel further runs. This is the function of the django-q2 task."""
    user = all_users().filter(pk=user_key).first()
    if user is None:
        return
    chosen = RunFilter(**wanted)
    _, last = _cancel_some(chosen, user, newest, after, reason)
    if last is not None:
        _queue(chosen, user_key, newest, last, reason)


def _queue(wanted: RunFilter, user_key: Any, newest: UUID, after: UUID, reason: str) -> None:
    given = (asdict(wanted), user_key, newest, after, reason)
    async_task("flows.tasks.cancelling.go_on", *given, task_name="cancel many runs", save=False)


def _cancel_some(
    wanted: RunFilter, user: Any, newest: UUID, after: UUID | None, reason: str
) -> tuple[int, UUID | None]:
    """Cancel runs for about a second, the oldest first.

    Return the number, and the last run that was looked at; None: there are no further ones.
    """
    ends_at = time.monotonic() + SLICE_SECONDS
    cancelled = 0
    while True:
        runs = _runs(wanted, user).filter(pk__lte=newest).select_related("flow_version")
        ahead = runs.filter(pk__gt=after) if after else runs
        batch = list(ahead.order_by("pk")[:BATCH])
        for run in batch:
            was_cancelled = engine.cancel(run, user=user, reason=reason)
            cancelled += was_cancelled.status == Run.Status.CANCELLED
            after = run.pk
            if time.monotonic() >= ends_at:
                return cancelled, after
        if len(batch) < BATCH:
            return cancelled, None


def _runs(wanted: RunFilter, user: Any) -> QuerySet[Run]:
    going_on = runs_to_cancel(user).filter(status__in=Run.UNFINISHED)
    return wanted.restrict(going_on, user)
