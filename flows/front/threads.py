"""The threads in which requests are answered."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Job:
    """A call with the event loop and the future that wait for what it returns."""

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

        # A loop that is closed waits for nothing any more; the thread has other jobs.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(end)


class Threads:
    """So many threads at most. Of the idle ones the last one that was busy is taken.

    Each has a database connection of its own, whose caches are warm while it is used, and on SQLite
    stale as soon as another one writes. So few are at work while there is little to do; an executor
    of Python's gives each its turn.
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
                self._started += 1
                Thread(target=self._work, args=(job,), name=self._name, daemon=True).start()
            else:
                self._waiting.append(job)
        return job.future

    def _work(self, job: Job) -> None:
        mine: SimpleQueue[Job] = SimpleQueue()
        while True:
            job.do()
            with self._lock:
                waiting = self._waiting.popleft() if self._waiting else None
                if waiting is None:
                    self._idle.append(mine)
            job = waiting or mine.get()
