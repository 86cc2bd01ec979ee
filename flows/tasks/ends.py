"""How tasks of django-q2 end that would take their worker with them, and wait for an hour unseen.

A task that exits, or gives a result that cannot be pickled, ended the worker's loop: nothing was
recorded, and its row waited for `retry` before it was tried again, without an end. Here each is a
failed task with its cause. So is that of a worker that was killed, as long as its cluster lives.
"""

from __future__ import annotations

import logging
import pickle
import signal
from typing import Any

import django_q.worker
from django.utils import timezone
from django_q.exceptions import TimeoutException
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.timeout import TimeoutHandler

from flows.tasks.lanes import WorkerLane
from flows.tasks.queue import TaskQueue

logger = logging.getLogger(__name__)

# Stands for the code of a worker that is killed since its task did not end at its time limit.
OVERDUE = 1 << 16


class TaskExited(Exception):
    """A task has raised what ends a process."""


class ExitsAreFailures(TimeoutHandler):
    """django-q2's time limit around a task; what would end the worker fails the task alone."""

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        if exc_value is None or isinstance(exc_value, Exception | TimeoutException):
            return
        raise TaskExited(f"The task raised {exc_value!r}.") from exc_value


def install_in_workers() -> None:
    """Have the workers of this process and its children survive their tasks' exits."""
    # django-q2 calls it by its name in that module.
    django_q.worker.TimeoutHandler = ExitsAreFailures


class Results:
    """The results of one worker, which no longer holds a task once its result is there."""

    def __init__(self, results: TaskQueue, lane: TaskQueue) -> None:
        self.results = results
        self.lane = lane

    def put(self, task: dict[str, Any]) -> None:
        if fault := fault_of_pickle(task["result"]):
            fail_for_good(task, f"The task has ended, but its result cannot be stored: {fault}")
        if fault := fault_of_pickle(task):
            # The function has put something into its own arguments.
            task |= {"args": (), "kwargs": {}}
            fail_for_good(task, f"The task has ended, but its arguments cannot be stored: {fault}")
        self.results.put(task)
        if isinstance(self.lane, WorkerLane):
            self.lane.runs.value = 0


def fail_for_good(task: dict[str, Any], reason: str) -> None:
    """Make it a failure that is not tried again: it would do its work twice, for the same end."""
    task |= {"result": reason, "success": False, "ack_failure": True}


def fault_of_pickle(value: Any) -> str:
    """Say why a value does not come back from a pickle, "" where it does."""
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301  just written
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def failure_of(row: OrmQ, code: int) -> dict[str, Any]:
    """Return the failure of a task whose worker has died, as a worker would have put it."""
    task: dict[str, Any] = SignedPackage.loads(row.payload)
    return task | {
        "ack_id": row.pk,
        "result": f"Its worker died while it ran: {cause(code)}.",
        "success": False,
        "stopped": timezone.now(),
    }


def cause(code: int) -> str:
    if code == OVERDUE:
        return "it was killed, since the task did not end at its time limit"
    if code < 0:
        known = {each.value for each in signal.Signals}
        # Those of real time have no names.
        name = signal.Signals(-code).name if -code in known else f"the signal {-code}"
        return f"it was killed by {name}"
    return f"it exited with {code}"
