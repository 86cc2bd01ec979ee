"""Start the runs of the flows' schedules.

Each cluster's broker looks once a second whether a time has come, by an index, and queues a task of
django-q2. The task starts the run and moves the schedule on in one transaction: each time has one
run, whatever is killed and however many clusters look.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django_q.tasks import async_task

from flows import engine
from flows.errors import FlowError, PayloadNotChecked, QueueFull, UnknownFlow
from flows.models import FlowSchedule, FlowScheduleState, Run
from flows.models.cron_times import CronInvalid
from flows.store import store
from flows.store.troubles import trouble_of

logger = logging.getLogger(__name__)

# The label of a schedule's runs.
LABEL = "schedule"
# A time that is later than this is a missed one.
GRACE = timedelta(minutes=1)
NEVER = datetime.min.replace(tzinfo=UTC)
# Of missed times these are started.
MOST_MISSED = 100
MOST_DETAILS = 3
# Where the queue is full, the last run has not ended, the payload could not be checked for now, or
# the flow was renamed just then, the schedule is looked at again after this time.
AGAIN = timedelta(seconds=5)
# A task that is not done after this time leaves the rest to the next one.
BUDGET_SECONDS = 4.0
# While times stay open that have come, a cluster queues another task after this time.
QUEUE_AGAIN_SECONDS = 5.0


class ScheduleWatch:
    """Queues the task where a time has come. The broker of each cluster has one."""

    def __init__(self) -> None:
        self._queued_at = -QUEUE_AGAIN_SECONDS
        self._queued_for: datetime | None = None

    def look(self) -> bool:
        """Tell whether a task was queued."""
        due = FlowScheduleState.objects.filter(at__lte=store().database.now())
        newest = due.order_by("-at").values_list("at", flat=True).first()
        if newest is None:
            return False
        clock = time.monotonic()
        is_known = self._queued_for is not None and newest <= self._queued_for
        if is_known and clock - self._queued_at < QUEUE_AGAIN_SECONDS:
            return False
        # The result is in the rows.
        async_task(
            "flows.tasks.flow_schedules.start_due",
            task_name="schedules of flows",
            save=False,
            ack_failure=True,
        )
        self._queued_at, self._queued_for = clock, newest
        return True


def start_due(budget_seconds: float = BUDGET_SECONDS) -> int:
    """Start what is due, the oldest first; return how many runs it starts."""
    ends_at = time.monotonic() + budget_seconds
    now = store().database.now()
    due = FlowScheduleState.objects.filter(at__lte=now).order_by("at")
    started = 0
    for key in list(due.values_list("pk", flat=True)):
        if time.monotonic() >= ends_at:
            break
        with store().database.transaction():
            # Another cluster may be at it, or done.
            found = due.select_related("schedule__flow").filter(pk=key)
            if state := found.select_for_update(of=("self",), skip_locked=True).first():
                started += _serve(state, now)
    return started


def _serve(state: FlowScheduleState, now: datetime) -> int:
    """Start the runs of a schedule whose time has come, and move it on; return their number."""
    schedule = state.schedule
    try:
        times = schedule.times()
    except CronInvalid as error:
        # Of a row that was not checked, or a time zone that is no more.
        state.problem, state.at = str(error), None
        state.save()
        return 0
    assert state.time is not None
    due = [
        time
        for time in times.newest(state.time, now, MOST_MISSED)
        if schedule.starts_at(time) <= now
    ]
    begun = 0
    for moment in _to_start(state, due, now):
        if not _has_way(state):
            if schedule.overlap == FlowSchedule.Overlap.WAIT:
                state.time, state.at = moment, now + AGAIN
                state.save()
                return begun
            state.problem = f"Left out at {_shown(moment)}: the run before had not ended."
            continue
        try:
            with store().database.transaction():
                state.last_run = _start(schedule)
                # Otherwise the commit would do it, and fail with all the others.
                store().database.take_pending_room()
        except (QueueFull, PayloadNotChecked, UnknownFlow) as error:
            state.problem = str(error)
            state.time, state.at = moment, now + AGAIN
            state.save()
            return begun
        except Exception as error:
            if trouble_of(error) is not None:
                raise
            if not isinstance(error, FlowError):
                # What is wrong with this one must not keep the others waiting.
                logger.exception("the schedule %s was not started", schedule.pk)
            why = " ".join([str(error), *_details(error)])
            state.problem = f"Not started at {_shown(moment)}: {why}"
            continue
        state.last_time, state.problem = moment, ""
        begun += 1
    state.wait_for(times.after(max([*due, state.time])))
    state.save()
    return begun


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _details(error: Exception) -> list[str]:
    """Return what is wrong in the payload, the first of it."""
    found: list[dict[str, str]] = getattr(error, "errors", [])
    return [f"{each.get('path', '')} {each['detail']}." for each in found[:MOST_DETAILS]]


def _to_start(state: FlowScheduleState, due: list[datetime], now: datetime) -> list[datetime]:
    """Return the times that get a run: each that is not missed, and of the others what is asked."""
    schedule = state.schedule
    if schedule.missed == FlowSchedule.Missed.ALL:
        return due
    if on_time := [time for time in due if now - schedule.starts_at(time) <= GRACE]:
        return on_time
    if schedule.missed == FlowSchedule.Missed.SKIP and now - _held_up_until(state, now) > GRACE:
        return []
    return due[-1:]


def _held_up_until(state: FlowScheduleState, now: datetime) -> datetime:
    """Return when the last run has ended, for which a time may have waited, or now."""
    if state.schedule.overlap != FlowSchedule.Overlap.WAIT or state.last_run is None:
        return NEVER
    if not _has_way(state):
        return now
    ended = Run.objects.filter(pk=state.last_run).values_list("finished_at", flat=True).first()
    return ended or NEVER


def _has_way(state: FlowScheduleState) -> bool:
    """Say whether a run may be started: whether the last one has ended, where that counts."""
    if state.schedule.overlap == FlowSchedule.Overlap.START or state.last_run is None:
        return True
    return not Run.objects.filter(pk=state.last_run, status__in=Run.UNFINISHED).exists()


def _start(schedule: FlowSchedule) -> UUID:
    labels = schedule.labels | {LABEL: schedule.name}
    return engine.start(
        schedule.flow.name, schedule.payload.encode(), labels=labels, priority=schedule.priority
    ).correlation_id
