"""django-q2's cluster, made to survive the death of any of its processes.

What django-q2 shares between processes is guarded by locks, and a process killed while it holds
one leaves the others waiting for ever: an idle worker even waits while holding the lock of the
task queue. Here nothing is shared that needs a lock. Every process dies with its parent, so that
no orphan works on, and the main process alone obeys the stop signals.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any

import django_q.cluster
from django import db
from django_q.cluster import Cluster, Sentinel, get_mp_context
from django_q.conf import Conf
from django_q.pusher import pusher
from django_q.scheduler import scheduler
from django_q.worker import worker

from flows.processes import die_with_parent, is_stopped
from flows.store import store
from flows.store.clock import machine_clock
from flows.store.troubles import DATABASE_ERRORS
from flows.tasks import ends as task_ends
from flows.tasks.lanes import STOP, Lanes, WorkerLane
from flows.tasks.monitor import Monitor
from flows.worker.broker import QueueBroker
from flows.worker.measuring import Measuring
from flows.worker.own_cluster import flow_workers, task_workers
from flows.worker.this_worker import this_worker
from flows.worker.unreadable import Unreadable
from scripts.host.forks import prepare_for_forks
from scripts.protocol.waker import Waker

logger = logging.getLogger(__name__)

# So long may a process be stopped in mid-write.
STOPPED_SECONDS = 5.0


class Flag:
    """A flag shared by the processes of a cluster, without a lock."""

    def __init__(self) -> None:
        self.value = RawValue("b", 0)

    def is_set(self) -> bool:
        return bool(self.value.value)

    def set(self) -> None:
        self.value.value = 1


class StopEvent(Flag):
    """A flag that can be waited for. The wait also ends when one of these processes has ended."""

    def __init__(self) -> None:
        super().__init__()
        # Woken once and never cleared, it stays readable for all.
        self.waker = Waker()
        self.processes: Callable[[], Iterable[BaseProcess]] = tuple
        # Done before each wait, once in a cycle of django-q2.
        self.before: Callable[[], None] = lambda: None

    def set(self) -> None:
        super().set()
        self.waker.wake()

    def wait(self, seconds: float) -> bool:
        self.before()
        processes = [process.sentinel for process in self.processes()]
        if wait([self.waker.fileno(), *processes], seconds) and not self.is_set():
            # A process that dies as soon as it has begun is not started again without a pause.
            wait([self.waker.fileno()], PAUSE_SECONDS)
        return self.is_set()

    def close(self) -> None:
        self.waker.close()


# How often the main process looks at those that write, and, where it ends by itself, for the rest.
LOOK_SECONDS = 2.0
REST_SECONDS = 0.2
# After the death of a worker, the next one starts so much later.
PAUSE_SECONDS = 0.1
# After the death of a sentinel, the next one starts so much later.
RESTART_SECONDS = 0.5
# The number of new objects after which Python looks for cycles among them. A batch of messages
# makes thousands, which live until its commit.
COLLECT_AFTER = 20_000
# How often a database that cannot be reached is tried again.
DATABASE_SECONDS = 1.0


class Timer:
    """django-q2's clock of a worker, without its lock: what is left of the time of its task.

    The worker sets it. It counts down by itself, so that what the sentinel subtracts in each of its
    cycles is left out: they are as long as nothing happens.
    """

    def __init__(self) -> None:
        self._ends_at = RawValue("d", -1)
        self._sentinel = os.getpid()

    @property
    def value(self) -> float:
        ends_at = self._ends_at.value
        return max(ends_at - time.monotonic(), 0.0) if ends_at > 0 else ends_at

    @value.setter
    def value(self, seconds: float) -> None:
        if os.getpid() != self._sentinel:
            self._ends_at.value = time.monotonic() + seconds if seconds > 0 else seconds

    def get_lock(self) -> nullcontext[None]:
        return nullcontext()


def schedule_by_a_steady_clock(broker: Any) -> None:
    """Leave schedules alone while the clock has jumped: they would be put off by as much."""
    if not machine_clock().has_jumped:
        scheduler(broker=broker)


# The sentinel calls it by its name in that module.
django_q.cluster.scheduler = schedule_by_a_steady_clock
task_ends.install_in_workers()


class CrashSafeSentinel(Sentinel):
    def __init__(
        self,
        stop_event: StopEvent,
        start_event: Flag,
        cluster_id: uuid.UUID,
        parent: int,
        rest_event: Flag | None,
    ):
        die_with_parent(parent)
        await_database(stop_event)
        super().__init__(stop_event, start_event, cluster_id, start=False)
        # The main process alone decides about the end, by the stop event.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lanes = Lanes(flow_workers(), task_workers())
        self.task_queue = self.broker.lanes = lanes
        self.result_queue = lanes.results
        self.pool_size = lanes.workers()
        self.event_out = Flag()
        stop_event.processes = self._processes
        stop_event.before = self._fit_workers
        self.leaving = 0
        this_worker.draining = stop_event
        this_worker.is_awaited = lambda: not lanes.flows.empty()
        this_worker.measuring = Measuring(lanes.measures)
        this_worker.unreadable = Unreadable(lanes.unreadable, self.broker.cluster)
        this_worker.note_taken = lanes.note_taken
        if rest_event is not None:
            self.broker.when_at_rest = rest_event.set
            if Conf.SCHEDULER:
                schedule_by_a_steady_clock(self.broker)
        self.start()

    def _processes(self) -> list[BaseProcess]:
        return [*self.pool, self.monitor, self.pusher]

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        return super().spawn_process(child, target, *args)

    def spawn_monitor(self) -> Any:
        monitor = Monitor(self.broker, self.stop_event.is_set)
        return self.spawn_process(monitor.run, self.result_queue)

    def spawn_pusher(self) -> Any:
        return self.spawn_process(push, self.task_queue, self.event_out, self.broker)

    def spawn_worker(self) -> None:
        timer = Timer()
        lane = self.task_queue.without_worker([process.lane for process in self.pool])
        results = task_ends.Results(self.result_queue, lane)
        process = self.spawn_process(worker, lane, results, timer, self.timeout)
        process.timer, process.lane = timer, lane
        # Workers ignore SIGTERM, so an overdue one is killed with SIGKILL.
        process.terminate = process.kill
        self.pool.append(process)

    def _flow_processes(self) -> list[Any]:
        return [process for process in self.pool if process.lane is self.task_queue.flows]

    def _fit_workers(self) -> None:
        """Start a worker for flows where the broker wants one more, or let an idle one end."""
        count, wanted = len(self._flow_processes()), self.task_queue.flow_workers
        if count < wanted:
            db.connections.close_all()
            self.spawn_worker()
        elif count - self.leaving > wanted:
            self.leaving += 1
            self.task_queue.flows.put(STOP)

    def reincarnate(self, process: Any) -> None:
        """Replace a process that died; of a worker, note the task that it ran for the broker."""
        lane = getattr(process, "lane", None)
        if lane is self.task_queue.flows:
            has_left = self.leaving > 0 and process.exitcode == 0
            self.leaving -= has_left
            if has_left or len(self._flow_processes()) > self.task_queue.flow_workers:
                # What lacks then is started by `_fit_workers`.
                self.pool.remove(process)
                return
        if isinstance(lane, WorkerLane):
            is_overdue = process.timer.value == 0 and process.is_alive()
            lane.note_death(task_ends.OVERDUE if is_overdue else process.exitcode or 0)
        super().reincarnate(process)


def await_database(stop: StopEvent) -> None:
    """Wait until the database can be reached, and say once that it cannot."""
    has_warned = False
    while not stop.is_set():
        try:
            db.connection.ensure_connection()
            return
        except DATABASE_ERRORS as error:
            if not has_warned:
                name = db.connection.settings_dict["NAME"]
                text = "this cluster waits for its database: %s says: %s"
                logger.warning(text, name, str(error).strip())
            has_warned = True
            stop.wait(DATABASE_SECONDS)
    raise SystemExit


def child(target: Callable[..., None], *args: Any) -> None:
    die_with_parent(os.getppid())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        told(target, *args)
    finally:
        this_worker.close_hosts()


def told(target: Callable[..., Any], *args: Any) -> None:
    """Call it, and log what ends it: Python writes lines that collectors of logs do not know."""
    try:
        target(*args)
    except Exception:
        logger.critical("a process of this cluster ends by an error", exc_info=True)
        raise SystemExit(1) from None


def push(lanes: Lanes, stop: Flag, broker: QueueBroker) -> None:
    """Take in work until the stop; this is the function of the broker's process."""
    broker.hand_over = lanes.put
    pusher(lanes, stop, broker)
    broker.leave()


class WriteGuard:
    """Kills processes that were stopped in mid-write: no other process can write until then."""

    def __init__(self) -> None:
        self.stopped_since: dict[int, float] = {}

    def look(self) -> None:
        clock = time.monotonic()
        stopped = {pid for pid in store().database.writers() if is_stopped(pid)}
        self.stopped_since = {pid: self.stopped_since.get(pid, clock) for pid in stopped}
        for pid, since in self.stopped_since.items():
            if clock - since > STOPPED_SECONDS:
                logger.error("process %s is ended: it was stopped in mid-write", pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


class CrashSafeCluster(Cluster):
    """The main process: it starts the sentinel, replaces it when it dies, and stops it.

    `until_rest`: it stops by itself when nothing is ready.
    """

    def __init__(self, until_rest: bool = False) -> None:
        super().__init__()
        self.rest_event = Flag() if until_rest else None

    def start(self) -> int:
        self.stop_event = StopEvent()
        self.guard = WriteGuard()
        self._spawn_sentinel()
        return self.pid

    def _spawn_sentinel(self) -> None:
        db.connections.close_all()
        if flow_workers():
            this_worker.share_zygote()
        prepare_for_forks()
        gc.set_threshold(COLLECT_AFTER)
        self.start_event = Flag()
        self.sentinel = get_mp_context().Process(
            target=told,
            args=(
                CrashSafeSentinel,
                self.stop_event,
                self.start_event,
                self.cluster_id,
                os.getpid(),
                self.rest_event,
            ),
        )
        self.sentinel.start()

    def run(self) -> None:
        """Work until a stop signal came, or nothing is ready, and everything has drained."""
        self.start()
        while True:
            self.sentinel.join(LOOK_SECONDS if self.rest_event is None else REST_SECONDS)
            self.guard.look()
            if self.rest_event and self.rest_event.is_set():
                self.stop()
            if self.sentinel.is_alive():
                continue
            if self.stop_event.is_set():
                return
            time.sleep(RESTART_SECONDS)
            self._spawn_sentinel()

    def stop(self) -> bool:
        self.stop_event.set()
        return True
