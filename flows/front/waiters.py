"""Callers that wait for the end of a run. Each holds a connection; one thread serves them all."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import close_old_connections

from flows.front.places import Places
from flows.front.threads import Threads
from flows.monitoring.trace import finished_among

logger = logging.getLogger(__name__)

# The most callers that wait in one process; of one user as many as ASYNCENGINE_MAX_WAITERS.
MOST = 4_000
# The shortest pause between two queries. Queries take at most a sixth of the time.
LEAST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_FACTOR = 5


# The key of a `Wait` in the environment.
WAIT = "asyncengine.wait"


@dataclass
class Wait:
    """A wait that a view asks for. It is in the environment of the request, and the view fills it
    in.

    The front drops that answer of the view, and asks the view again with `is_over` after the wait.
    A view that has done something before says so in `done`, and finds it when it is asked again.
    """

    is_over: bool = False
    done: Any = None
    run_id: UUID | None = None
    user_id: Any = None
    seconds: float = 0.0

    def until_finished(self, run_id: UUID, user_id: Any, seconds: float, done: Any = None) -> None:
        self.run_id, self.user_id, self.seconds, self.done = run_id, user_id, seconds, done


class Waiters:
    """The waiting callers of one process. `look` returns the runs that have ended; it runs in a
    thread of its own."""

    def __init__(self, look: Callable[[Collection[UUID]], set[UUID]]) -> None:
        self._look = look
        self._thread = Threads(1, "waiters")
        self._by_run: dict[UUID, set[Future[None]]] = defaultdict(set)
        self._places = Places(MOST)
        self._watching: asyncio.Task[None] | None = None
        self._is_failing = False

    async def wait(self, wait: Wait, gone: Callable[[], Awaitable[None]]) -> bool:
        """Wait as the view has asked for. Return False if the caller has gone meanwhile.

        Raises TooManyWaiters.
        """
        assert wait.run_id is not None
        with self._places.taken(wait.user_id), self._ended(wait.run_id) as ended:
            gone_task = asyncio.ensure_future(gone())
            try:
                await asyncio.wait(
                    {ended, gone_task},
                    timeout=wait.seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                return not gone_task.done()
            finally:
                gone_task.cancel()

    @contextmanager
    def _ended(self, run_id: UUID) -> Iterator[Future[None]]:
        """Return a future that is done at the end of the run."""
        ended = asyncio.get_running_loop().create_future()
        self._by_run[run_id].add(ended)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield ended
        finally:
            self._by_run[run_id].discard(ended)
            if not self._by_run[run_id]:
                del self._by_run[run_id]

    async def _watch(self) -> None:
        while self._by_run:
            begun = time.monotonic()
            for run_id in await self._finished():
                for ended in self._by_run.get(run_id, ()):
                    if not ended.done():
                        ended.set_result(None)
            pause = PAUSE_FACTOR * (time.monotonic() - begun)
            await asyncio.sleep(min(max(pause, LEAST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS))

    async def _finished(self) -> set[UUID]:
        run_ids = list(self._by_run)
        try:
            finished = await self._thread.run(lambda: self._look(run_ids))
        except Exception:
            # The view answers each caller at the end of its wait, and finds the same fault.
            if not self._is_failing:
                logger.exception("Cannot look which runs have ended")
            self._is_failing = True
            return set()
        self._is_failing = False
        return finished


def look(run_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the runs have ended. It is called from a thread that serves no requests."""
    close_old_connections()
    try:
        return finished_among(run_ids)
    finally:
        close_old_connections()
