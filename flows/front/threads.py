"""The threads in which requests are answered."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from django.db import connections

from flows.processes import give_memory_back

T = TypeVar("T")

# A thread beside the first one ends after so long without a job.
IDLE_SECONDS = 3.0


@dataclass(slots=True)
class Job:
    """A call, with the event loop and the future that wait for its result."""

    function: Callable[[], Any]
    loop: AbstractEventLoop
    future: Future[Any]

    def do(self) -> None:
        try:
            result = self.function()
        except StopIteration as error:
            # A future takes none.
            self._tell(self.future.set_exception, RuntimeError(repr(error)))
        except BaseException as error:
            self._tell(self.future.set_exception, error)
        else:
            self._tell(self.future.set_result, result)

    def _tell(self, ending: Callable[[Any], None], outcome: Any) -> None:
        def end() -> None:
            if not self.future.done():
                ending(outcome)

        # A closed loop waits for nothing any more. The thread goes on with other jobs.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(end)


class Threads:
    """A limited number of threads. A job goes to the idle thread that was busy last.

    Each thread has a database connection of its own. Its caches stay warm while it is used, and on
    SQLite they are stale as soon as another connection writes. So few threads work while there is
    little to do; Python's own executor would use all in turn. Those that idle end, but for the
    first one: a connection takes 0.6 MB on SQLite, and a process of the server on PostgreSQL.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = Lock()
        self._started = 0
        self._idle: list[SimpleQueue[Job]] = []
        self._waiting: deque[Job] = deque()

    def run(self, function: Callable[[], T]) -> Future[T]:
        """Return the future of what the function returns in a thread."""
        loop = asyncio.get_running_loop()
        job = Job(function, loop, loop.create_future())
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
            elif self._started < self._most:
                arguments = (job, IDLE_SECONDS if self._started else None)
                Thread(target=self._work, args=arguments, name=self._name, daemon=True).start()
                # Counted only then: the system may let none be made.
                self._started += 1
            else:
                self._waiting.append(job)
        return job.future

    def _work(self, job: Job | None, idle_seconds: float | None) -> None:
        mine: SimpleQueue[Job] = SimpleQueue()
        while job:
            job.do()
            with self._lock:
                job = self._waiting.popleft() if self._waiting else None
                if job is None:
                    self._idle.append(mine)
            job = job or self._next(mine, idle_seconds)
        connections.close_all()
        give_memory_back()

    def _next(self, mine: SimpleQueue[Job], idle_seconds: float | None) -> Job | None:
        """Wait for a job; None: the thread is to end."""
        with suppress(Empty):
            return mine.get(timeout=idle_seconds)
        with self._lock:
            if mine in self._idle:
                self._idle.remove(mine)
                self._started -= 1
                return None
        # A job was given to it just now.
        return mine.get()
