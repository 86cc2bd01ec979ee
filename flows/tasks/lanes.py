"""The lanes of a cluster: which of its workers a task goes to.

Workers for flows stand apart from workers for tasks. A task of a project runs for as long as it
likes, and django-q2 cannot interrupt it for a flow: a worker that flows need must not begin one.
Extra workers are better than a share of the same ones: they keep flows going where a cluster has
one worker for them, and each number means one thing. An idle worker takes some 6 MB of memory.
"""

from __future__ import annotations

import pydoc
import select
from collections.abc import Callable
from functools import cache
from multiprocessing.sharedctypes import RawValue
from typing import Any

from flows.tasks.allowed_tasks import ENGINE_TASKS
from flows.tasks.measures import MeasureChannel
from flows.tasks.queue import PacketChannel, TaskQueue
from flows.tasks.stats import Notes
from flows.tasks.unreadable import UnreadableChannel
from scripts.protocol.waker import Waker

# How django-q2 ends a worker, and how the broker names consumer sessions.
STOP = "STOP"
SESSION = "consumer-"
# The engine's own tasks are short and have a worker of their own, so that no other delays them.
ENGINE_WORKERS = 1


class SessionQueue(TaskQueue):
    """The queue of all flow workers.

    It puts the function in place of its path in a task, which django-q2 would look up for each.
    """

    def get(self) -> Any:
        task = super().get()
        if task != STOP:
            task["func"] = _located(task["func"]) or task["func"]
        return task


_located = cache(pydoc.locate)


class WorkerLane(TaskQueue):
    """The queue of one worker, which shows whether that worker waits for a task.

    A worker that replaces a dead one takes over its lane, with the task that is in it.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self.waits = RawValue("b", 0)
        self.wake = wake
        # The row of the task that the worker runs, 0 for none.
        self.runs = RawValue("q", 0)
        # The row of a task whose worker has died, and the code that it ended with.
        self.lost = RawValue("q", 0)
        self.lost_by = RawValue("i", 0)

    def get(self) -> Any:
        if self.empty():
            self.waits.value = 1
            self.wake()
            select.select([self.reader], [], [])
        # In this order, a task is always seen: in the lane, or with the worker.
        self.waits.value = 0
        task = super().get()
        self.runs.value = row_of(task)
        return task

    def is_free(self) -> bool:
        # In this order: a worker that takes its task between the two looks is not free.
        return self.empty() and bool(self.waits.value)

    def note_death(self, code: int) -> None:
        """Note the task that a worker ran when it died; the broker asks for it with `take_lost`."""
        if self.runs.value:
            self.lost_by.value = code
            self.lost.value, self.runs.value = self.runs.value, 0
            self.wake()

    def take_lost(self) -> tuple[int, int] | None:
        """Return the row of a task whose worker has died, and its code, once."""
        if not (row := self.lost.value):
            return None
        self.lost.value = 0
        return row, self.lost_by.value


def row_of(task: Any) -> int:
    """Return the row of a task in django-q2's table, 0 for what has none."""
    row = task.get("ack_id") if isinstance(task, dict) else None
    return row if isinstance(row, int) else 0


class Lanes:
    """The task queue of a cluster: one for all flow workers, one for each of the others."""

    def __init__(self, flow_workers: int, task_workers: int) -> None:
        # Any worker wakes the pusher, which waits for it.
        self.waker = Waker()
        # How many there are to be: the broker says so, and the sentinel starts and ends them.
        self._flow_workers = RawValue("i", flow_workers)
        self.flows = SessionQueue()
        # Which offers of the broker its workers have taken.
        self.taken = PacketChannel()
        self.engine = [WorkerLane(self.waker.wake) for _ in range(ENGINE_WORKERS)]
        self.tasks = [WorkerLane(self.waker.wake) for _ in range(task_workers)]
        self.results = WorkerLane(self.waker.wake)
        self.are_stopped = False
        # The sentinel's, of the state of the cluster.
        self.notes = Notes()
        # Those of the workers, for the broker, and what they could not read.
        self.measures = MeasureChannel()
        self.unreadable = UnreadableChannel()

    @property
    def flow_workers(self) -> int:
        return self._flow_workers.value

    @flow_workers.setter
    def flow_workers(self, number: int) -> None:
        self._flow_workers.value = number

    def workers(self) -> int:
        return self.flow_workers + len(self.engine) + len(self.tasks)

    def lost(self) -> list[tuple[int, int]]:
        """Return the rows of tasks whose workers have died, with the codes of the workers."""
        found = (lane.take_lost() for lane in (*self.engine, *self.tasks))
        return [each for each in found if each]

    def without_worker(self, manned: list[TaskQueue]) -> TaskQueue:
        """Return the queue that lacks a worker, where each of the workers that live has one."""
        if manned.count(self.flows) < self.flow_workers:
            return self.flows
        return next(lane for lane in (*self.engine, *self.tasks) if lane not in manned)

    def put(self, task: Any) -> None:
        """Put a consumer session, a task or STOP where a worker gets it.

        There is one STOP for each worker.
        """
        if task == STOP:
            self._stop_one()
        elif str(task["ack_id"]).startswith(SESSION):
            self.flows.put(task)
        else:
            lanes = self.tasks
            if task["func"] in ENGINE_TASKS or not lanes:
                lanes = [*self.engine, *self.tasks]
            next((lane for lane in lanes if lane.is_free()), lanes[0]).put(task)

    def _stop_one(self) -> None:
        self.flows.put(STOP)
        if not self.are_stopped:
            self.are_stopped = True
            for lane in (*self.engine, *self.tasks):
                lane.put(STOP)

    def free_for_tasks(self) -> int:
        return sum(lane.is_free() for lane in self.tasks)

    def free_for_engine(self) -> int:
        return sum(lane.is_free() for lane in self.engine)

    def note_taken(self, offer: str, is_open: bool) -> None:
        """Tell the broker that its offer has led to a session, or to none.

        One that is open tells of its end. Without one, the broker has counted the queue as served.
        """
        self.taken.post(offer.encode())
        if not is_open:
            self.waker.wake()

    def are_at_rest(self) -> bool:
        """Tell whether no task is under way, nor the result of one."""
        everything = (*self.engine, *self.tasks, self.results)
        return self.flows.empty() and all(
            lane.is_free() and not lane.lost.value for lane in everything
        )

    def empty(self) -> bool:
        return all(queue.empty() for queue in (self.flows, *self.engine, *self.tasks))

    def qsize(self) -> int:
        return sum(queue.qsize() for queue in (self.flows, *self.engine, *self.tasks))

    def close(self) -> None:
        """Nothing to flush, as in each of them."""

    def join_thread(self) -> None:
        """There is no feeder thread."""

    def shut(self) -> None:
        """Let go of all of them in this process."""
        self.waker.close()
        self.notes.shut()
        self.measures.shut()
        self.unreadable.shut()
        self.taken.shut()
        for queue in (self.flows, self.results, *self.engine, *self.tasks):
            queue.shut()
