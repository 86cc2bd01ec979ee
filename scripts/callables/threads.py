"""The threads of a worker in which callables run, each with database connections of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Container, Iterator
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from django.db import close_old_connections, connections

from scripts.callables.calls import CallableCall
from scripts.callables.leftovers import Leftovers, drop_connections
from scripts.callables.watchdog import watchdog
from scripts.pool.running import RunningCall
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptRaised
from scripts.protocol.waker import Waker

logger = logging.getLogger(__name__)

# How long a thread without work keeps its database connections.
IDLE_SECONDS = 5.0


class CallableThreads:
    """Runs calls for one other thread, which never waits for them: an `OutcomeSource`.

    Each step has at most as many threads at once as it was given; they take its calls one by one.
    """

    def __init__(self) -> None:
        self._waker = Waker()
        self._lock = threading.Lock()
        self._lanes: dict[tuple[Program, CallSite], _ThreadLane] = {}
        self._running: set[CallableCall] = set()
        self._finished: deque[tuple[Program, Outcome]] = deque()
        # The number of threads that wait for a lane, without those that were just given one.
        self._idle = 0
        self._given: SimpleQueue[_ThreadLane | None] = SimpleQueue()
        self._is_closed = False

    @staticmethod
    def runs(program: Program) -> bool:
        return program.is_callable

    def fileno(self) -> int:
        return self._waker.fileno()

    def submit(self, program: Program, site: CallSite, calls: list[Call], limit: int) -> None:
        with self._lock:
            lane = self._lanes.get((program, site))
            if lane is None:
                lane = self._lanes[program, site] = _ThreadLane((program, site))
            lane.limit = max(1, limit)
            lane.waiting.extend(CallableCall(program, site, call) for call in calls)
            for _ in range(min(lane.limit - lane.threads, len(lane.waiting))):
                # Counted only then: the system may let no thread be made.
                self._find_thread(lane)
                lane.threads += 1

    def finished(self) -> list[tuple[Program, Outcome]]:
        """Return the outcomes since the last time."""
        self._waker.clear()
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def running(self, keys: Container[Any], seconds: float) -> Iterator[RunningCall]:
        """Yield those calls of these keys that have been running for so long, with their logs."""
        before = time.time() - seconds
        with self._lock:
            found = [each for each in self._running if each.call.key in keys]
        for each in found:
            if 0 < each.started_at <= before:
                yield RunningCall(each.call, each.started_at, each.logs(), each.progress())

    def withdraw(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls with these keys that were not begun."""
        with self._lock:
            return [call for lane in self._lanes.values() for call in lane.withdraw(keys)]

    def cancel(self, keys: set[Any]) -> None:
        """End the calls with these keys that run."""
        with self._lock:
            for each in self._running:
                if each.call.key in keys:
                    self._end(each)

    def close(self) -> None:
        """End what runs and let the threads end. Nothing comes of it any more."""
        with self._lock:
            self._is_closed = True
            for lane in self._lanes.values():
                lane.waiting.clear()
            for each in self._running:
                self._end(each)
            for _ in range(self._idle):
                self._given.put(None)
            self._idle = 0
            self._waker.close()

    def _end(self, running: CallableCall) -> None:
        running.is_cancelled = True
        watchdog.interrupt(running.limit)

    def _find_thread(self, lane: _ThreadLane) -> None:
        if self._idle:
            self._idle -= 1
            self._given.put(lane)
        else:
            threading.Thread(target=self._work, args=(lane,), name="callables", daemon=True).start()

    def _work(self, lane: _ThreadLane | None) -> None:
        try:
            while lane is not None:
                while running := self._next(lane):
                    self._run(running)
                lane = self._next_lane()
        finally:
            connections.close_all()

    def _next(self, lane: _ThreadLane) -> CallableCall | None:
        """Take a call off the lane; None: leave the lane, it is empty or has too many threads."""
        with self._lock:
            if not lane.waiting or lane.threads > lane.limit:
                lane.threads -= 1
                if not lane.threads:
                    self._lanes.pop(lane.key, None)
                return None
            running = lane.waiting.popleft()
            self._running.add(running)
            return running

    def _run(self, running: CallableCall) -> None:
        leftovers = Leftovers()
        outcome = running.outcome()
        try:
            if running.limit.is_hit:
                drop_connections()
            elif fault := leftovers.put_right():
                outcome = uncommitted(outcome, fault)
            close_old_connections()
        except Exception:
            logger.exception("connections of %s were not closed", running.limit.what)
        with self._lock:
            self._running.discard(running)
            if not self._is_closed:
                self._finished.append((running.program, outcome))
                self._waker.wake()

    def _next_lane(self) -> _ThreadLane | None:
        with self._lock:
            if self._is_closed:
                return None
            self._idle += 1
        try:
            return self._given.get(timeout=IDLE_SECONDS)
        except Empty:
            pass
        with self._lock:
            if self._idle:
                self._idle -= 1
                return None
        # It was given a lane just before the time was up.
        return self._given.get()


def uncommitted(outcome: Outcome, fault: str) -> Outcome:
    """Make uncommitted work the error of its message, unless it has another error."""
    if outcome.error is not None:
        return outcome
    return replace(outcome, output=None, error=ScriptRaised(fault))


class _ThreadLane:
    """The waiting calls of one step, and the number of threads that work on the step."""

    def __init__(self, key: tuple[Program, CallSite]) -> None:
        self.key = key
        self.limit = 1
        self.threads = 0
        self.waiting: deque[CallableCall] = deque()

    def withdraw(self, keys: set[Any]) -> list[Call]:
        withdrawn = [each.call for each in self.waiting if each.call.key in keys]
        self.waiting = deque(each for each in self.waiting if each.call.key not in keys)
        return withdrawn
