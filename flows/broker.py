"""django-q2's broker: which consumer session starts next."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.db.utils import Error as DatabaseFault
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.signing import SignedPackage

from flows.models import Consumer, Queue
from flows.plan import step_plan
from flows.processes import is_alive, this_host
from flows.store import Ready, store
from flows.wakeup import WakeUp, wakeup

logger = logging.getLogger(__name__)

SESSION = "consumer-"
REAP_SECONDS = 1.0
# An opened consumer that no worker has begun after this time is given to another.
BEGIN_SECONDS = 3.0


class QueueBroker(ORM):
    """Hands out consumer sessions beside django-q2's own tasks.

    A session takes one worker, so no more are opened than this cluster has workers free. Queues
    take turns: the one that was served longest ago comes first.
    """

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key=list_key)
        self.host = this_host()
        # The pusher is a child of its cluster's sentinel.
        self.cluster = f"{self.host}:{os.getppid()}"
        self.served_at: dict[int, float] = {}
        self.reaped_at = 0.0
        self.polling = 0.1
        self.wakeup: WakeUp | None = None

    def enqueue(self, task: str) -> int:
        task_id = super().enqueue(task)
        store().database.wake()
        return task_id

    def acknowledge(self, task_id: int | str) -> None:
        if not str(task_id).startswith(SESSION):
            super().acknowledge(task_id)

    def fail(self, task_id: int | str) -> None:
        if not str(task_id).startswith(SESSION):
            super().fail(task_id)

    def dequeue(self) -> list[tuple[int | str, str]]:
        """Return django-q2 tasks; after waiting for work, at most for the shortest polling time.

        It never raises: django-q2 would stop the cluster's intake for ten seconds.
        """
        try:
            self._reap_now_and_then()
            self._look()
            tasks = [*(super().dequeue() or []), *self._open_sessions()]
            if not tasks:
                self._wait()
            return tasks
        except (DatabaseFault, OSError):
            logger.exception("the broker lost the database; it tries again")
            self._start_afresh()
            return []

    def _reap_now_and_then(self) -> None:
        if time.monotonic() - self.reaped_at < REAP_SECONDS:
            return
        store().reap(
            self.host,
            is_alive,
            lease=timedelta(seconds=settings.ASYNCENGINE_LEASE_SECONDS),
            begin=timedelta(seconds=BEGIN_SECONDS),
        )
        shortest = Queue.objects.aggregate(shortest=Min("polling"))["shortest"]
        self.polling = min(shortest.total_seconds() if shortest else 0.1, REAP_SECONDS)
        self.reaped_at = time.monotonic()

    def _look(self) -> None:
        if self.wakeup is None:
            self.wakeup = wakeup()
        self.wakeup.look()

    def _wait(self) -> None:
        if self.wakeup is not None:
            self.wakeup.wait(self.polling)

    def _start_afresh(self) -> None:
        if self.wakeup is not None:
            self.wakeup.close()
            self.wakeup = None
        connection.close()
        time.sleep(0.5)

    def _open_sessions(self) -> list[tuple[str, str]]:
        idle = int(Conf.WORKERS) - Consumer.objects.filter(cluster=self.cluster).count()
        tasks: list[tuple[str, str]] = []
        for queue in self._in_turn(store().ready()) if idle > 0 else ():
            if len(tasks) == idle:
                break
            share = ceil(queue.threads / int(Conf.WORKERS))
            consumer_id = store().open_consumer(queue.queue_id, share, self.cluster, self.host)
            if consumer_id is not None:
                self.served_at[queue.queue_id] = time.monotonic()
                tasks.append((f"{SESSION}{consumer_id}", session_task(consumer_id)))
        return tasks

    def _in_turn(self, queues: list[Ready]) -> Iterable[Ready]:
        rooms = {queue.queue_id: queue.room for queue in queues}
        eligible = [queue for queue in queues if can_be_served(queue, rooms)]
        return sorted(eligible, key=lambda queue: self.served_at.get(queue.queue_id, 0.0))


def can_be_served(queue: Ready, rooms: dict[int, int]) -> bool:
    """Whether a further session on this queue would find something that it may do."""
    if queue.paused or queue.head_step_id is None:
        return False
    if queue.granted_threads >= queue.threads or queue.consumers >= queue.depth:
        return False
    following = step_plan(queue.head_step_id).next_queue_id
    return following is None or rooms.get(following, 1) > 0


def session_task(consumer_id: int) -> str:
    """Return a consumer session as the signed package that django-q2's pusher expects."""
    return SignedPackage.dumps(session_options(consumer_id))


def session_options(consumer_id: int) -> dict[str, Any]:
    return {
        "id": f"{SESSION}{consumer_id}",
        "name": f"{SESSION}{consumer_id}",
        "func": "flows.consumer.consume",
        "args": (consumer_id,),
        "kwargs": {},
        "started": timezone.now(),
        # The truth is in our tables; django-q2 keeps no result, and no clock but the lease.
        "save": False,
        "timeout": -1,
        "ack_failure": True,
    }
