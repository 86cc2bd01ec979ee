"""The turns of bodies that come while a thread reads them.

A few are read at the same time. A view that waits for something else leaves its turn to others
meanwhile, and keeps its thread, which serves no other request: so there is a thread for each turn
and for each view that may wait.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import BoundedSemaphore

from flows.front.faults import Overloaded

# The bodies that are read at the same time, and how long one waits for its turn.
STREAMS = 3
STREAM_WAIT_SECONDS = 30.0
# The views that may wait at the same time with a part of their body.
WAITING = 8
# The key of the turn in the environment.
TURN = "asyncengine.turn"


class Turn:
    """That of a thread of a server without the front, where nothing waits for it."""

    def __init__(self, waiting: BoundedSemaphore) -> None:
        self._waiting = waiting

    @contextmanager
    def left(self) -> Iterator[bool]:
        """Leave the turn to others within the block, which waits; false: too many wait already."""
        if not self._waiting.acquire(blocking=False):
            yield False
            return
        try:
            self._leave()
            try:
                yield True
            finally:
                self._return()
        finally:
            self._waiting.release()

    def _leave(self) -> None:
        """Nothing waits for it."""

    def _return(self) -> None:
        """It was not left."""


class FrontTurn(Turn):
    """That of a thread of the front, which reads a body."""

    def __init__(
        self, waiting: BoundedSemaphore, free: asyncio.Semaphore, loop: AbstractEventLoop
    ) -> None:
        super().__init__(waiting)
        self._free = free
        self._loop = loop

    def _leave(self) -> None:
        self._loop.call_soon_threadsafe(self._free.release)

    def _return(self) -> None:
        asyncio.run_coroutine_threadsafe(self._free.acquire(), self._loop).result()


class Turns:
    """The turns of one process."""

    def __init__(self, streams: int = STREAMS, waiting: int = WAITING) -> None:
        self._free = asyncio.Semaphore(streams)
        self._waiting = BoundedSemaphore(waiting)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[FrontTurn]:
        """Hold a turn within the block. Raises Overloaded where none is free in time."""
        try:
            async with asyncio.timeout(STREAM_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded from error
        try:
            yield FrontTurn(self._waiting, self._free, asyncio.get_running_loop())
        finally:
            self._free.release()


# Under a server without the front.
NO_FRONT = Turn(BoundedSemaphore(WAITING))
