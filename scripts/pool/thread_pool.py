"""Threads that work for one other thread, which must never wait for them."""

import contextlib
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """Does jobs side by side; ``bell`` is readable when some are done.

    Each job belongs to a party. A party has at most ``most_of_one`` threads. Above its fair share
    of ``share`` threads it has to leave a quarter of all to those that are below theirs, and one
    that has no thread gets one in any case. So a party whose jobs take long keeps no other waiting.
    Parties that wait take turns.

    Threads are made when they are needed, and keep no process from ending.
    """

    def __init__(
        self, do: Callable[[Job], None], most_threads: int, most_of_one: int, share: int = 1
    ) -> None:
        self.bell, self._rope = socket.socketpair()
        for end in (self.bell, self._rope):
            end.setblocking(False)
        self._do = do
        self._most_threads = most_threads
        self._most_of_one = most_of_one
        self._share = share
        self._threads = 0
        self._idle = 0
        self._running: Counter[Hashable] = Counter()
        # The jobs of each party that has some to be done, in the order of their turns.
        self._waiting: dict[Hashable, deque[Job]] = {}
        self._done: deque[Job] = deque()
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._is_closed = False

    def take(self, job: Job, party: Hashable) -> None:
        with self._lock:
            self._waiting.setdefault(party, deque()).append(job)
            self._news.notify()
            undone = sum(map(len, self._waiting.values()))
            if undone > self._idle and self._may_begin(party):
                self._threads += 1
                threading.Thread(target=self._work, name="script-asks", daemon=True).start()

    def done(self) -> list[Job]:
        """Return the jobs that were done since the last time."""
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(4096)
        return [self._done.popleft() for _ in range(len(self._done))]

    def close(self) -> None:
        """Let the threads end, each after the job that it is at. What was not begun is left."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            self._news.notify_all()
            self.bell.close()
            self._rope.close()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            job, party = taken
            try:
                self._do(job)
            finally:
                self._end(job, party)

    def _next(self) -> tuple[Job, Hashable] | None:
        """Wait for a job that may be done now; None at the end."""
        with self._lock:
            while not self._is_closed:
                party = next(filter(self._may_begin, self._waiting), None)
                if party is not None:
                    return self._begin(party), party
                self._idle += 1
                self._news.wait()
                self._idle -= 1
        return None

    def _may_begin(self, party: Hashable) -> bool:
        of_party, of_all = self._running[party], self._running.total()
        if of_party < self._share:
            return not of_party or of_all < self._most_threads
        return of_party < self._most_of_one and of_all < self._most_threads * 3 // 4

    def _begin(self, party: Hashable) -> Job:
        jobs = self._waiting.pop(party)
        job = jobs.popleft()
        if jobs:
            # Behind the others.
            self._waiting[party] = jobs
        self._running[party] += 1
        return job

    def _end(self, job: Job, party: Hashable) -> None:
        with self._lock:
            self._running[party] -= 1
            if not self._running[party]:
                del self._running[party]
            self._done.append(job)
            if not self._is_closed:
                self._ring()

    def _ring(self) -> None:
        # Where the bell takes no more, it has not been heard for long and goes on ringing.
        with contextlib.suppress(BlockingIOError):
            self._rope.send(b"\0")


class SameThread(Crew[Job]):
    """Does each job at once, in the thread that brings it, which waits for it. For tests."""

    def take(self, job: Job, party: Hashable) -> None:
        self._do(job)
        self._done.append(job)
        self._ring()
