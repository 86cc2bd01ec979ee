"""Threads that work for one other thread, which must never wait for them."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """Does jobs side by side; ``bell`` is readable when some are done.

    Its threads are made when they are needed, and keep no process from ending.
    """

    def __init__(self, do: Callable[[Job], None], most_threads: int) -> None:
        self.bell, self._rope = socket.socketpair()
        for end in (self.bell, self._rope):
            end.setblocking(False)
        self._do = do
        self._most_threads = most_threads
        self._threads = 0
        self._undone = 0
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: deque[Job] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, job: Job) -> None:
        self._undone += 1
        if self._threads < min(self._undone, self._most_threads):
            threading.Thread(target=self._work, name="script-asks", daemon=True).start()
            self._threads += 1
        self._jobs.put(job)

    def done(self) -> list[Job]:
        """Return the jobs that were done since the last time."""
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(4096)
        done = [self._done.popleft() for _ in range(len(self._done))]
        self._undone -= len(done)
        return done

    def close(self) -> None:
        """Let the threads end, each after the job that it is at. What was not begun is left."""
        with contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait()
        for _ in range(self._threads):
            self._jobs.put(None)
        with self._lock:
            self._is_closed = True
            self.bell.close()
            self._rope.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)
            self._done.append(job)
            with self._lock:
                if not self._is_closed:
                    self._ring()

    def _ring(self) -> None:
        # Where the bell takes no more, it has not been heard for long and goes on ringing.
        with contextlib.suppress(BlockingIOError):
            self._rope.send(b"\0")
