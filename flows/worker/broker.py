"""django-q2's broker: which consumer session starts next."""

from __future__ import annotations

import logging
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.db.models import Min, QuerySet
from django.db.utils import Error as DatabaseFault
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from flows.models import Consumer, LiveCluster, Queue, StepVersion
from flows.plan import step_plan
from flows.processes import is_alive, this_machine
from flows.store import EVERY_QUEUE, Reach, Ready, store
from flows.store.listener import Listener
from flows.store.troubles import Trouble, trouble_of
from flows.tasks.alerts import AlertWatch
from flows.tasks.allowed_tasks import checked_package, is_of_engine
from flows.tasks.cache import TaskCache
from flows.tasks.counting import Counting
from flows.tasks.deadlines import DeadlineWatch
from flows.tasks.ends import failure_of
from flows.tasks.flow_schedules import ScheduleWatch
from flows.tasks.lanes import SESSION, Lanes
from flows.tasks.reprocessing import wake_overdue
from flows.tasks.stats import COUNTS_SECONDS, STORE_SECONDS, stat_of, with_fields
from flows.tasks.unreadable import UnreadableQueues
from flows.tasks.webhooks import WebhookWatch
from flows.worker.offers import Offers
from flows.worker.own_cluster import (
    flow_workers,
    key_of,
    most_flow_workers,
    own_reach,
    task_workers,
)
from flows.worker.scaling import Scaling
from flows.worker.shares import Shares
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run
from scripts.protocol.waker import Waker

logger = logging.getLogger(__name__)

# A consumer session as django-q2's workers take it.
Session = dict[str, Any]

# The engine's own tasks wait apart from the project's; every cluster takes them.
ENGINE_LIST = f"{Conf.PREFIX}/engine"
REAP_SECONDS = 1.0
MOST_REAP_SECONDS = 1.5
# A consumer without a heartbeat for this long may be one that cannot write.
QUIET_SECONDS = 3.0
# An opened consumer that no worker has begun after this time is given to another.
BEGIN_SECONDS = 3.0
SESSIONS_PER_WORKER = 16
# How often a cluster with a free worker asks others for threads.
ASK_SECONDS = 1.0
BUSY_SECONDS = 0.02
# By what a look has taken, how long it waits after it; `BUSY_SECONDS` at most.
WAIT_TIMES = 10
# So long it leaves a start to the cluster that comes first there.
OTHERS_FIRST_SECONDS = 0.005
# A task of the engine's own that has failed is tried again after this time, then after ever longer
# ones: the fifth attempt comes after twenty minutes.
TRY_AGAIN_SECONDS = 5
LATER_EACH_TIME = 6
# How often it hears what is told meanwhile.
TELL_SECONDS = 0.002
# A cluster that ends when nothing is ready waits so long for what a rate limit holds back.
RATE_PATIENCE_SECONDS = 1.0


class QueueBroker(ORM):
    """Hands out consumer sessions beside django-q2's own tasks.

    A session is offered to a flow worker that is free, which opens it with its first claim. Where
    none is, the broker opens it: busy workers look for those that were opened for their cluster and
    work on several side by side. Queues take turns: the one that was served longest ago comes
    first. A task is taken from its list when a worker for tasks is free, so that it does not wait
    here while another cluster could run it.
    """

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key=list_key)
        self.machine = this_machine()
        # It is made in the sentinel, a child of the cluster's main process.
        self.cluster = key_of(self.machine, os.getppid())
        self.reach = own_reach()
        self.shares = Shares(self.cluster, self.reach)
        self.asked_at = 0.0
        self.scaling = Scaling(flow_workers(), most_flow_workers())
        self.served_at: dict[int, float] = {}
        self.sent: set[int] = set()
        self.offers = Offers()
        # As the last look has found them.
        self.seen: dict[int, Ready] = {}
        # Without a look, since the last one.
        self.has_offered = False
        self.looks_at = 0.0
        # Starts to other clusters, since the last look.
        self.has_left = False
        self.reaped_at = 0.0
        self.reprocessings_at = 0.0
        self.stat_at = 0.0
        # Until then missing heartbeats are ignored: the database may have been away.
        self.patient_until = time.monotonic() + settings.ASYNCENGINE_LEASE_SECONDS
        self.polling = 0.1
        self.is_busy = False
        # Workers with a session, or to which one was sent.
        self.busy = 0
        self.tasks_are_next = False
        self.next_start_in = 60.0
        self.is_empty = False
        # Since nothing was told in the last wait, and there was nothing to do before it.
        self.is_quiet = False
        # In the last wait, which was just now.
        self.was_told = False
        self.listener: Listener | None = None
        self.has_warned = False
        self.counting = Counting()
        self.unreadable = UnreadableQueues()
        self.deadlines = DeadlineWatch()
        self.webhooks = WebhookWatch()
        self.schedules = ScheduleWatch()
        self.alerts = AlertWatch()
        # The cluster's; None in a process that only queues tasks.
        self.lanes: Lanes | None = None
        # Rows of tasks whose workers have died, with their codes, that are to be recorded.
        self.lost: list[tuple[int, int]] = []
        self.when_at_rest: Callable[[], None] | None = None
        # Puts a session where a worker takes it, without django-q2 between; its process has it.
        self.hand_over: Callable[[Session], None] | None = None

    def enqueue(self, task: str) -> int:
        key = ENGINE_LIST if is_of_engine(task) else self.list_key
        queued = self.get_connection().create(key=key, payload=task, lock=timezone.now())
        store().database.wake()
        return queued.pk

    @staticmethod
    def get_cache() -> BaseCache:
        """Return the cache that the project names for django-q2, else the one in the database."""
        return caches[Conf.CACHE] if Conf.conf.get("cache") else TaskCache()

    def set_stat(self, key: str, value: str, timeout: int) -> None:
        if self.lanes is not None:
            self.lanes.notes.put(value)
        else:
            super().set_stat(key, value, timeout)

    def get_stats(self, pattern: str) -> list[str]:
        if isinstance(self.cache, TaskCache):
            return self.cache.under(pattern.removesuffix("*"))
        return super().get_stats(pattern) or []

    def acknowledge(self, task_id: int | str) -> None:
        if not str(task_id).startswith(SESSION):
            super().acknowledge(task_id)

    def fail(self, task_id: int | str) -> None:
        if not str(task_id).startswith(SESSION):
            super().fail(task_id)

    def try_again(self, task_id: int, attempts: int) -> None:
        """Have a task that has failed run again soon, if its attempts are not used up."""
        after = min(TRY_AGAIN_SECONDS * LATER_EACH_TIME ** (attempts - 1), Conf.RETRY)
        lock = timezone.now() + timedelta(seconds=after)
        self.get_connection().filter(pk=task_id).update(lock=lock)

    def dequeue(self) -> list[tuple[int | str, str]]:
        """Return django-q2 tasks; after waiting for work, at most for `_longest_wait`.

        It never raises: django-q2 would stop the cluster's intake for ten seconds.
        """
        try:
            if offers := self._offer_before_a_look():
                return self._given(offers)
            if self._stays_quiet():
                return []
            began = time.monotonic()
            self._reap_now_and_then()
            self._look()
            self._wake_reprocessings()
            self._record_lost_tasks()
            self._hear_of_unreadable()
            queues = self._queues()
            pids, granted = self._sessions(queues)
            sessions = self._tasks_for_free_workers(pids)
            opened = self._open_sessions(queues, len(pids), granted, sessions)
            self._scale(queues)
            if sessions and not self.tasks_are_next:
                # What a caller waits for goes at once; tasks are looked for the next time.
                self.tasks_are_next = True
                return self._given(sessions)
            self.tasks_are_next = False
            own = self._tasks_of_django_q2()
            tasks = [*own, *self._given(sessions)]
            if not own:
                self._put_off_the_next_look(time.monotonic() - began)
            if not own and not sessions and not opened and not self._is_reaping_due():
                if self.when_at_rest is not None and self._is_at_rest():
                    self.when_at_rest()
                self._wait()
            return tasks
        except (DatabaseFault, OSError) as error:
            self._start_afresh(error)
            return []

    def _given(self, sessions: list[Session]) -> list[tuple[int | str, str]]:
        """Hand sessions over where that is possible, else return them as django-q2 has tasks."""
        if self.hand_over is None:
            return [(each["ack_id"], SignedPackage.dumps(each)) for each in sessions]
        for each in sessions:
            self.hand_over(each)
        return []

    def _put_off_the_next_look(self, took: float) -> None:
        """Wait after a look: where every commit is told, this process would do nothing else."""
        self.looks_at = time.monotonic() + min(WAIT_TIMES * took, BUSY_SECONDS)

    def _offer_before_a_look(self) -> list[Session]:
        """Offer what needs no look at all queues, until it is time for one."""
        if self.listener is None:
            return []
        if self.has_offered:
            # A look would keep the worker from its claim, where there are few processors.
            self.has_offered = False
            self.listener.wait(BUSY_SECONDS, self._wakers())
            return self._offer_told(self.listener)
        while True:
            self.listener.wait(self._rest_left(), self._wakers())
            if offers := self._offer_told(self.listener):
                return offers
            is_woken = select.select(self._wakers(), [], [], 0.0)[0]
            if is_woken or self._rest_left() < TELL_SECONDS:
                return []
            time.sleep(TELL_SECONDS)

    def _rest_left(self) -> float:
        return max(self.looks_at - time.monotonic(), 0.0)

    def _leave_to_others(self) -> None:
        """Wait once before the next look, so that it finds what another cluster has taken."""
        if not self.has_left:
            self.has_left = True
            self.looks_at = max(self.looks_at, time.monotonic() + OTHERS_FIRST_SECONDS)

    def _offer_told(self, listener: Listener) -> list[Session]:
        """Offer the queues that starts were told of, by what the last look at them has shown.

        A claim finds out for itself what has changed since.
        """
        if self.lanes is None or self.is_busy or not (told := listener.told()):
            return []
        self.offers.end(self.lanes.taken.packets())
        offered = {offer.queue_id for offer in self.offers}
        known = (self.seen.get(queue_id) for queue_id in sorted(told - offered))
        free = [queue for queue in known if queue and self._is_known_free(queue)]
        found = [queue for queue in free if self.shares.comes_first(queue)]
        if len(found) < len(free):
            self._leave_to_others()
        sessions = [self._offer(queue) for queue in found[: max(self._workers() - self.busy, 0)]]
        self.has_offered = bool(sessions)
        return sessions

    def _is_known_free(self, queue: Ready) -> bool:
        """Whether nothing but its emptiness kept this cluster from a queue."""
        is_bound = queue.paused or queue.rate_limit is not None or queue.slow_until is not None
        if is_bound or queue.consumers or queue.threads < 1:
            return False
        backs_off = self.unreadable.backs_off(queue.queue_id, time.monotonic())
        return self.reach.takes(queue.cluster) and not backs_off

    def _stays_quiet(self) -> bool:
        """Ask for no more than whether there is work, where none was found and none was told."""
        if not self.is_quiet:
            return False
        store().settle_clock()
        if store().has_work((ENGINE_LIST, self.list_key)):
            self.is_quiet = False
            return False
        # There is no lease that could have run out, and no reprocessing.
        self._count_busy(0)
        self._scale([])
        self.reaped_at = time.monotonic()
        self.reprocessings_at = self.reaped_at + REAP_SECONDS
        self._keep_up()
        self._wait()
        return True

    def _tasks_of_django_q2(self) -> list[tuple[int | str, str]]:
        """Take as many tasks as workers are free for them, the engine's own first."""
        if not store().has_tasks((ENGINE_LIST, self.list_key), timezone.now()):
            return []
        lanes = self.lanes
        for_tasks = Conf.BULK if lanes is None else lanes.free_for_tasks()
        for_engine = 0 if lanes is None else lanes.free_for_engine()
        own = self._taken(ENGINE_LIST, for_engine + for_tasks)
        others = self._taken(self.list_key, for_tasks - max(len(own) - for_engine, 0))
        return [(row.pk, checked_package(row.payload)) for row in (*own, *others)]

    def _taken(self, key: str, most: int) -> list[OrmQ]:
        if most < 1:
            return []
        rows = self.get_connection().filter(key=key, lock__lt=timezone.now())
        # Where another cluster was faster, the row's lock has changed.
        return [
            row
            for row in rows.order_by("lock", "pk")[:most]
            if self.get_connection().filter(pk=row.pk, lock=row.lock).update(lock=self.timeout(row))
        ]

    def _is_reaping_due(self) -> bool:
        # It takes longer than the start of a session, which may have been told.
        patience = MOST_REAP_SECONDS if self.was_told else REAP_SECONDS
        return time.monotonic() - self.reaped_at >= patience

    def _reap_now_and_then(self) -> None:
        is_due, self.was_told = self._is_reaping_due(), False
        if not is_due:
            return
        seconds = settings.ASYNCENGINE_LEASE_SECONDS
        # Ask the database first: if it hangs, heartbeats hang too, and this call hangs with them.
        # A wait for a lock is shorter, see lock_timeout.
        store().settle_clock()
        store().require_writable(timedelta(seconds=QUIET_SECONDS))
        clock = time.monotonic()
        if clock - self.reaped_at > max(seconds - 2 * REAP_SECONDS, 2 * REAP_SECONDS):
            self.patient_until = clock + seconds
        silence = timedelta(seconds=seconds if clock > self.patient_until else 1e6)
        store().reap(self.machine, is_alive, lease=silence, begin=timedelta(seconds=BEGIN_SECONDS))
        shortest = Queue.objects.aggregate(shortest=Min("polling"))["shortest"]
        self.polling = min(shortest.total_seconds() if shortest else 0.1, REAP_SECONDS)
        self.reaped_at = clock
        # `HAS_WORK` asks for the times of all three.
        self.deadlines.look()
        self.webhooks.look()
        self.schedules.look()
        self._keep_up()

    def _keep_up(self) -> None:
        """Do what each of these does now and then, whether there is work or not."""
        self._store_stat()
        self.shares.look(store().database.now())
        self.alerts.look()
        if self.lanes is not None:
            self.counting.count_now_and_then(self.lanes.measures)

    def _store_stat(self) -> None:
        note = self.lanes.notes.last() if self.lanes else None
        if note is None or time.monotonic() < self.stat_at:
            return
        self.stat_at = time.monotonic() + STORE_SECONDS
        key = stat_of(note).key
        # For `live_clusters`.
        note = with_fields(
            note,
            cluster=self.cluster,
            flow_workers=self._workers(),
            missing_measures=missing_measures() if flow_workers() else [],
            unreadable=self._unreadable(),
        )
        with store().database.transaction():
            if flow_workers():
                self._tell_that_it_lives()
            if isinstance(self.cache, TaskCache):
                self.cache.set(key, note, COUNTS_SECONDS)
        if not isinstance(self.cache, TaskCache):
            super().set_stat(key, note, COUNTS_SECONDS)

    def _tell_that_it_lives(self) -> None:
        takes_unbound = self.reach.takes("")
        workers = self._workers() if scripts_may_run() else 0
        now = store().database.now()
        LiveCluster(self.cluster, self.reach.name or "", takes_unbound, workers, now).tell()

    def leave(self) -> None:
        """Say that this cluster takes nothing more, so that the others share its part at once."""
        try:
            LiveCluster.objects.filter(key=self.cluster).update(workers=0)
        except (DatabaseFault, OSError) as error:
            logger.info("this cluster counts for a while, as the database takes no word: %s", error)

    def _hear_of_unreadable(self) -> None:
        for told in self.lanes.unreadable.received() if self.lanes else ():
            self.unreadable.note(*told, time.monotonic())

    def _unreadable(self) -> list[tuple[str, str]]:
        """Return the names of queues with messages that cannot be read here, and why."""
        known = self.unreadable.known(time.monotonic())
        names = Queue.objects.in_bulk(list(known)) if known else {}
        return [(names[pk].name, why) for pk, why in known.items() if pk in names]

    def _wake_reprocessings(self) -> None:
        clock = time.monotonic()
        if clock >= self.reprocessings_at:
            self.reprocessings_at = clock + wake_overdue()

    def _record_lost_tasks(self) -> None:
        """Let the monitor record the tasks of workers that died, as it does all that fail."""
        if self.lanes is None:
            return
        self.lost += self.lanes.lost()
        while self.lost:
            # Where the database fails, it is asked again.
            pk, code = self.lost[0]
            row = self.get_connection().filter(pk=pk).first()
            del self.lost[0]
            # One that is no longer there has ended just before its worker.
            if row:
                self.lanes.results.put(failure_of(row, code))

    def _look(self) -> None:
        for waker in self._wakers():
            waker.clear()
        self.offers.end(self.lanes.taken.packets() if self.lanes else ())
        self.has_left = False
        if self.listener is None:
            self.listener = store().database.listener()
        self.listener.look()

    def _wait(self) -> None:
        self.is_quiet = False
        # Every commit of a busy worker wakes the broker, and hardly ever is there more to do.
        if self.is_busy and select.select(self._wakers(), [], [], BUSY_SECONDS)[0]:
            return
        if self.listener is not None:
            longest = self._longest_wait(self.listener)
            self.was_told = self.listener.wait(longest, self._wakers())
            self.is_quiet = not self.was_told and self._is_told_all(self.listener)

    def _is_told_all(self, listener: Listener) -> bool:
        """Whether only a commit that is told brings work."""
        return self.is_empty and listener.is_told_all and self.when_at_rest is None

    def _longest_wait(self, listener: Listener) -> float:
        """Return the shortest polling time, longer where only a commit that is told brings work."""
        if self.is_empty and listener.is_told_all:
            return REAP_SECONDS
        return min(self.polling, max(self.next_start_in, 0.001))

    def _wakers(self) -> list[Waker]:
        return [self.lanes.waker] if self.lanes else []

    def _start_afresh(self, error: Exception) -> None:
        """Connect anew. While nothing could be written, no consumer could renew its lease."""
        trouble = trouble_of(error)
        if trouble:
            logger.warning("the broker cannot use the database: %s. %s", trouble.value, error)
        else:
            logger.exception("the broker lost the database; it tries again")
        self.is_quiet = False
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        connection.close()
        # A lock that another session holds is no outage.
        if trouble is not Trouble.BUSY:
            self.patient_until = time.monotonic() + settings.ASYNCENGINE_LEASE_SECONDS
        time.sleep(0.5)

    def _queues(self) -> list[Ready] | None:
        """Return the queues; None where this cluster may not work on them.

        Where the sandbox is incomplete, messages wait for a machine that has it all.
        """
        if not flow_workers():
            return None
        if not scripts_may_run():
            self._warn_of_the_sandbox()
            return None
        return self.offers.counted(store().ready())

    def _sessions(self, queues: list[Ready] | None) -> tuple[dict[int, int | None], Counter[int]]:
        """Return the workers of the open sessions, and the threads that they have by queue.

        No other process opens one for this cluster: where queues have none, none is asked for.
        """
        pids: dict[int, int | None] = {}
        granted: Counter[int] = Counter()
        if any(queue.consumers for queue in queues or ()):
            for pk, pid, queue_id, threads in store().consumers_of(self.cluster):
                pids[pk] = pid
                granted[queue_id] += threads
        for offer in self.offers:
            granted[offer.queue_id] += offer.threads
        return pids, granted

    def _open_sessions(
        self,
        queues: list[Ready] | None,
        count: int,
        granted: Counter[int],
        sessions: list[Session],
    ) -> bool:
        """Offer or open a session on every queue that can be served, one each; tell whether any is.

        `count` of them are open, and have been `granted` these threads by queue. Offers are put
        behind the `sessions` that free workers get already.
        """
        self.is_empty = False
        self.seen = {queue.queue_id: queue for queue in queues or ()}
        if queues is None:
            return False
        workers = self._workers()
        room = max(SESSIONS_PER_WORKER * workers - count - len(self.offers), 0)
        opened = False
        self.is_empty = not any(queue.depth for queue in queues if self.reach.takes(queue.cluster))
        found = self._in_turn(queues)
        self.shares.note_free(found)
        may_open = [
            queue
            for queue in found
            if not self.unreadable.backs_off(queue.queue_id, time.monotonic())
            and self.shares.may_open(queue, granted[queue.queue_id], workers)
        ]
        if not self.is_busy:
            self._ask_for_threads(queues, granted)
        for queue in may_open[:room]:
            if not self.is_busy:
                sessions.append(self._offer(queue))
                opened = True
            elif self._open(queue):
                opened = True
        return opened

    def _open(self, queue: Ready) -> bool:
        threads = self._share(queue)
        if not store().open_consumer(queue.queue_id, threads, self.cluster, self.machine):
            return False
        self.served_at[queue.queue_id] = time.monotonic()
        return True

    def _offer(self, queue: Ready) -> Session:
        threads = self._share(queue)
        name = self.offers.make(queue.queue_id, threads)
        self._count_busy(self.busy + 1)
        self.served_at[queue.queue_id] = time.monotonic()
        return session_task(name, "take_offer", (name, queue.queue_id, threads, self.cluster))

    def _share(self, queue: Ready) -> int:
        """Return the threads that a session of this cluster's may have here."""
        part = ceil(queue.threads / self.shares.workers(queue.cluster, self._workers()))
        return min(part, queue.threads - queue.granted_threads)

    def _count_busy(self, number: int) -> None:
        self.busy = number
        self.is_busy = self._workers() <= number

    def _ask_for_threads(self, queues: list[Ready], granted: Counter[int]) -> None:
        clock = time.monotonic()
        if clock - self.asked_at > ASK_SECONDS:
            self.asked_at = clock
            self.shares.ask(queues, granted, self._workers())
            if self.scaling.is_on:
                self.shares.spread(queues, self._workers())

    def _is_at_rest(self) -> bool:
        """Tell whether this cluster does nothing and finds nothing to do.

        What it does is asked for first, for its end may make something else ready.
        """
        if not self.lanes or len(self.offers) or not self.lanes.are_at_rest():
            return False
        if self._consumers().exists():
            return False
        if flow_workers() and scripts_may_run():
            is_ready = self._in_turn(store().ready()) or self.next_start_in < RATE_PATIENCE_SECONDS
            if is_ready:
                return False
        lists = [ENGINE_LIST, *([self.list_key] if task_workers() else [])]
        due = self.get_connection().filter(key__in=lists, lock__lt=timezone.now())
        return not due.exists()

    def _warn_of_the_sandbox(self) -> None:
        if not self.has_warned:
            self.has_warned = True
            logger.error(
                "no script runs on this machine, because its sandbox is incomplete; missing: %s."
                " ASYNCENGINE_UNSEALED_SCRIPTS=1 lets scripts run without the complete sandbox.",
                ", ".join(missing_measures()),
            )

    def _tasks_for_free_workers(self, pids: Mapping[int, int | None]) -> list[Session]:
        """Send sessions that no worker has begun to workers that are free."""
        waiting = sorted(pk for pk, pid in pids.items() if pid is None)
        self.sent &= set(waiting)
        busy = len({*pids.values()} - {None}) + len(self.sent) + len(self.offers)
        free = max(self._workers() - busy, 0)
        sending = [pk for pk in waiting if pk not in self.sent][:free]
        self.sent |= set(sending)
        self._count_busy(busy + len(sending))
        return [session_task(str(pk), "consume", (pk, self.cluster)) for pk in sending]

    def _workers(self) -> int:
        """Return how many workers for flows there are to be now."""
        return flow_workers() if self.lanes is None else self.lanes.flow_workers

    def _scale(self, queues: list[Ready] | None) -> None:
        """Have more or fewer workers, by those that are busy and what waits."""
        if self.lanes is None or not self.scaling.is_on:
            return
        threads = sum(
            queue.threads
            for queue in queues or ()
            if queue.head_step_id is not None and self.reach.takes(queue.cluster)
        )
        # More workers than threads would find nothing to do.
        waits = threads > self._workers()
        self.lanes.flow_workers = self.scaling.next(self._workers(), self.busy, waits)

    def _consumers(self) -> QuerySet[Consumer]:
        return Consumer.objects.filter(cluster=self.cluster)

    def _in_turn(self, queues: list[Ready]) -> list[Ready]:
        self.next_start_in = min(
            (
                starts_in(queue)
                for queue in queues
                if queue.head_step_id and self.reach.takes(queue.cluster)
            ),
            default=60.0,
        )
        return sorted(
            servable(queues, self.reach),
            key=lambda queue: self.served_at.get(queue.queue_id, 0.0),
        )


def session_task(name: str, function: str, args: tuple[Any, ...]) -> Session:
    """Return a session as a task of django-q2."""
    name = f"{SESSION}{name}"
    return {
        "ack_id": name,
        "cluster": Conf.CLUSTER_NAME,
        "id": name,
        "name": name,
        "func": f"flows.worker.worker.{function}",
        "args": args,
        "kwargs": {},
        "started": timezone.now(),
        # The truth is in our tables; django-q2 keeps no result, and no clock but the lease.
        "save": False,
        "timeout": -1,
        "ack_failure": True,
    }


def starts_in(queue: Ready) -> float:
    """Seconds until the queue's rate allows a start; a long time where it does now."""
    epoch = queue.asked_at.timestamp()
    if queue.rate_limit is None or queue.rate_limit.allowance(epoch):
        return 60.0
    return queue.rate_limit.free_at(epoch) - epoch


def servable(queues: list[Ready], reach: Reach = EVERY_QUEUE) -> list[Ready]:
    """Return those on which a further session would find something that it may do."""
    rooms = {queue.queue_id: queue.room for queue in queues}
    return [queue for queue in queues if reach.takes(queue.cluster) and can_be_served(queue, rooms)]


def can_be_served(queue: Ready, rooms: dict[int, int]) -> bool:
    """Whether a further session on this queue would find something that it may do."""
    if queue.head_step_id is None:
        return False
    now = queue.asked_at
    threads = 1 if queue.slow_until and queue.slow_until > now else queue.threads
    if queue.granted_threads >= threads or queue.consumers >= queue.depth:
        return False
    if queue.rate_limit and not queue.rate_limit.allowance(now.timestamp()):
        return False
    try:
        following = step_plan(queue.head_step_id).rooms
    except StepVersion.DoesNotExist:
        # The step was deleted: a session puts the message off.
        return True
    return all(rooms.get(id, 1) > 0 for id in following)
