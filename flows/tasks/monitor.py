"""The monitor of a cluster: it stores the results of django-q2's tasks.

django-q2's own ends where the database does, with the result that it holds, or goes on without it.
This one waits for the database.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django_q.monitor
from django.conf import settings
from django.db import connections
from django_q.models import Task
from django_q.signals import post_execute
from django_q.tasks import async_chain
from django_q.utils import get_func_repr

from flows.store.troubles import DATABASE_ERRORS, trouble_of
from flows.tasks.allowed_tasks import ENGINE_TASKS
from flows.tasks.lanes import STOP

logger = logging.getLogger(__name__)

# How often a database that cannot be used is tried again.
RETRY_SECONDS = 0.5


class Monitor:
    """`is_stopping` says whether the cluster ends: then the database has its grace alone."""

    def __init__(self, broker: Any, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self.broker = broker
        self.is_stopping = is_stopping
        self._ends_at: float | None = None

    def run(self, results: Any) -> None:
        """Store results until the STOP."""
        with _fitted():
            for task in iter(results.get, STOP):
                self._record(task)

    def _record(self, task: dict[str, Any]) -> None:
        name = f"'{get_func_repr(task['func'])}' ({task['name']})"
        # Shared by all tries: what one of them has enqueued is gone from it.
        chain = list(task.get("chain") or ())
        try:
            try:
                self._until_it_passes(lambda: self._store(task | {"chain": chain}))
            except Exception as error:
                if is_passing(error):
                    raise
                logger.exception("the result of the task %s is not stored", name)
            self._until_it_passes(lambda: self._acknowledge(task))
        except DATABASE_ERRORS as error:
            logger.error("the task %s will run again, the database says: %s", name, error)
            return
        post_execute.send_robust(sender="django_q", task=task)
        if not task["success"]:
            django_q.monitor.logger.error("Failed %s - %s", name, task["result"])

    def _store(self, task: dict[str, Any]) -> None:
        if task.get("cached", False):
            django_q.monitor.save_cached(task, self.broker)
        else:
            django_q.monitor.save_task(task, self.broker)

    def _acknowledge(self, task: dict[str, Any]) -> None:
        if not (row := task.get("ack_id")):
            return
        if task["success"] or task.get("ack_failure", False):
            self.broker.acknowledge(row)
        elif get_func_repr(task["func"]) in ENGINE_TASKS and (attempts := attempts_of(task)):
            # A user waits for the rest of what it does.
            self.broker.try_again(row, attempts)

    def _until_it_passes(self, do: Callable[[], None]) -> None:
        """Try again while the database is in trouble that passes, and say so once."""
        has_warned = False
        while True:
            try:
                return do()
            except DATABASE_ERRORS as error:
                if not is_passing(error) or self._has_no_time():
                    raise
                if not has_warned:
                    text = "results of tasks wait for the database: %s"
                    logger.warning(text, " ".join(str(error).split()))
                has_warned = True
            connections.close_all()
            time.sleep(RETRY_SECONDS)

    def _has_no_time(self) -> bool:
        if not self.is_stopping():
            return False
        if self._ends_at is None:
            self._ends_at = time.monotonic() + settings.ASYNCENGINE_GRACE_SECONDS
        return time.monotonic() > self._ends_at


def is_passing(error: Exception) -> bool:
    trouble = trouble_of(error)
    return trouble is not None and trouble.passes


class _Raises(logging.LoggerAdapter[logging.Logger]):
    """django-q2's logger, but what it would log about a result that is not stored is raised."""

    def exception(self, *args: Any, **kwargs: Any) -> None:
        if (error := sys.exc_info()[1]) is not None:
            raise error


def _go_on(chain: list[Any], **options: Any) -> None:
    """Enqueue the next task of a chain. It is empty then, so that another try enqueues none."""
    async_chain(list(chain), **options)
    chain.clear()


@contextmanager
def _fitted() -> Iterator[None]:
    """Have what django-q2 calls there raise its errors, and go on with a chain once."""
    its = django_q.monitor
    before = its.logger, its.async_chain
    its.logger, its.async_chain = _Raises(its.logger), _go_on
    try:
        yield
    finally:
        its.logger, its.async_chain = before


def attempts_of(task: dict[str, Any]) -> int:
    """Return how often a task has failed; 0 where its result could not be stored."""
    found = Task.objects.filter(pk=task["id"]).values_list("attempt_count", flat=True)
    return found.first() or 0
