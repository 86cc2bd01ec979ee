"""Threads that work for one other thread, which never waits for them."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from scripts.protocol.waker import Waker

Job = TypeVar("Job")


class ThreadPool(Generic[Job]):
    """Does jobs side by side. It is readable, for `select`, when some are done.

    Each job belongs to a tenant. A tenant has at most `most_of_one` threads. Above its fair share
    of `share` threads it leaves a quarter of all threads to tenants that are below theirs. A tenant
    without a thread gets one in any case. So a tenant whose jobs take long keeps no other waiting.
    Tenants that wait take turns.

    Threads are made when they are needed, and keep no process from ending.
    """

    def __init__(
        self, do: Callable[[Job], None], most_threads: int, most_of_one: int, share: int = 1
    ) -> None:
        self._waker = Waker()
        self._do = do
        self._most_threads = most_threads
        self._most_of_one = most_of_one
        self._share = share
        self._threads = 0
        self._idle = 0
        self._running: Counter[Hashable] = Counter()
        # The waiting jobs of each tenant that has some, in the order of the tenants' turns.
        self._waiting: dict[Hashable, deque[Job]] = {}
        self._done: deque[Job] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_closed = False

    def submit(self, job: Job, tenant: Hashable) -> None:
        """Have a job done. Returns at once."""
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(job)
            self._changed.notify()
            undone = sum(map(len, self._waiting.values()))
            if undone > self._idle and self._may_begin(tenant):
                self._threads += 1
                threading.Thread(target=self._work, name="script-requests", daemon=True).start()

    def fileno(self) -> int:
        return self._waker.fileno()

    def done(self) -> list[Job]:
        """Return the jobs that were done since the last time."""
        self._waker.clear()
        return [self._done.popleft() for _ in range(len(self._done))]

    def close(self) -> None:
        """Let the threads end, each after its present job. Jobs that were not begun are dropped."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()
            self._waker.close()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            job, tenant = taken
            try:
                self._do(job)
            finally:
                self._end(job, tenant)

    def _next(self) -> tuple[Job, Hashable] | None:
        """Wait for a job that may be done now; None at the end."""
        with self._lock:
            while not self._is_closed:
                tenant = next(filter(self._may_begin, self._waiting), None)
                if tenant is not None:
                    return self._begin(tenant), tenant
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
        return None

    def _may_begin(self, tenant: Hashable) -> bool:
        of_tenant, of_all = self._running[tenant], self._running.total()
        if of_tenant < self._share:
            return not of_tenant or of_all < self._most_threads
        return of_tenant < self._most_of_one and of_all < self._most_threads * 3 // 4

    def _begin(self, tenant: Hashable) -> Job:
        jobs = self._waiting.pop(tenant)
        job = jobs.popleft()
        if jobs:
            # The tenant is the last in turn now.
            self._waiting[tenant] = jobs
        self._running[tenant] += 1
        return job

    def _end(self, job: Job, tenant: Hashable) -> None:
        with self._lock:
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]
            self._done.append(job)
            if not self._is_closed:
                self._waker.wake()


class SameThread(ThreadPool[Job]):
    """Does each job at once, in the thread that submits it, which waits for it. For tests."""

    def submit(self, job: Job, tenant: Hashable) -> None:
        self._do(job)
        self._done.append(job)
        self._waker.wake()
