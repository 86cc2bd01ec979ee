"""Ends calls that run too long in a thread of this process, or the process if that does not help.

The project's own code runs in its worker, where only the whole process can be killed. So an
exception is raised in the thread when its time is up. Where the thread goes on, because it waits in
C code or catches every exception, the process ends. Other workers then get its messages.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from math import inf
from traceback import StackSummary
from typing import Any, NoReturn, TypeVar

from scripts.callables.places import stack_of

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# How long a thread may go on after the exception, to clean up.
PATIENCE_SECONDS = 1.0
# Where C code holds the GIL and stops the watchdog, the process ends that much later.
STUCK_SECONDS = 2.0
IDLE_SECONDS = 60.0
EXIT_OVERDUE = 71


class TimeIsUp(KeyboardInterrupt):
    """Raised in a thread. It is like Ctrl+C, for which database drivers stop waiting."""


class Limit:
    """The time limit of one call. `is_hit`: the call was to be ended."""

    def __init__(self, seconds: float, what: str) -> None:
        self.seconds = seconds
        self.what = what
        self.is_hit = False
        # The time of the next action: first the exception, then the end of the process.
        self.due_at = inf
        self.thread = 0
        # Where the thread was when its time was up.
        self.stack: StackSummary | None = None


class Watchdog:
    """Watches the calls of all threads. It has a thread of its own while there are any."""

    def __init__(self) -> None:
        # Acquired directly, not through the condition: the condition is Python code, where the
        # exception could come between acquiring the lock and entering the block.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._armed: set[Limit] = set()
        self._thread: threading.Thread | None = None
        self._looks_at = inf

    def call(self, limit: Limit, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call the function; raise TimeIsUp where it was ended, even if it caught the exception."""
        # The exception can come at any point between arming and disarming, but only once: the
        # second call of disarm is not interrupted.
        try:
            try:
                self._arm(limit)
                result = function(*arguments)
            finally:
                self._disarm(limit)
        except BaseException as error:
            self._disarm(limit)
            if limit.is_hit and not isinstance(error, TimeIsUp):
                raise TimeIsUp from error
            raise
        if limit.is_hit:
            raise TimeIsUp
        return result

    def interrupt(self, limit: Limit) -> None:
        """End a call before its time, even if it has not begun."""
        with self._lock:
            if limit in self._armed:
                self._hit(limit)
                self._look_by(limit.due_at)
            else:
                limit.is_hit = True

    def _arm(self, limit: Limit) -> None:
        with self._lock:
            if limit.is_hit:
                raise TimeIsUp
            limit.thread = threading.get_ident()
            limit.due_at = time.monotonic() + limit.seconds
            self._look_by(limit.due_at)
            self._armed.add(limit)

    def _disarm(self, limit: Limit) -> None:
        with self._lock:
            if limit in self._armed:
                if limit.is_hit:
                    # The exception may not have come yet; it must not come after this.
                    raise_into(limit.thread, None)
                self._armed.discard(limit)

    def _look_by(self, due_at: float) -> None:
        """Have the watchdog's thread look at that time at the latest."""
        if due_at >= self._looks_at:
            return
        if self._thread is None:
            # First of all: the system may let none be made.
            thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            thread.start()
            self._thread = thread
        self._plan(due_at)
        self._changed.notify()

    def _watch(self) -> None:
        with self._lock:
            was_idle_for_long = False
            while self._armed or not was_idle_for_long:
                for limit in [each for each in self._armed if each.due_at <= time.monotonic()]:
                    if limit.is_hit:
                        end_process(limit)
                    self._hit(limit)
                self._plan(min((limit.due_at for limit in self._armed), default=inf))
                is_idle = self._looks_at == inf
                wait = IDLE_SECONDS if is_idle else max(self._looks_at - time.monotonic(), 0.0)
                was_idle_for_long = not self._changed.wait(wait) and is_idle
            self._thread = None

    def _hit(self, limit: Limit) -> None:
        if limit.is_hit:
            return
        limit.is_hit = True
        limit.due_at = time.monotonic() + PATIENCE_SECONDS
        limit.stack = stack_of(limit.thread)
        raise_into(limit.thread, TimeIsUp)

    def _plan(self, looks_at: float) -> None:
        """Set the next look, and a timer in C that ends the process if the look does not come."""
        self._looks_at = looks_at
        if looks_at == inf:
            faulthandler.cancel_dump_traceback_later()
            return
        seconds = max(looks_at - time.monotonic(), 0.0) + PATIENCE_SECONDS + STUCK_SECONDS
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def raise_into(thread: int, exception: type[BaseException] | None) -> None:
    """Raise an exception in a thread the next time it runs Python code; None: raise none."""
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


def end_process(limit: Limit) -> NoReturn:
    with contextlib.suppress(Exception):
        logger.critical(
            "process %s ends: %s went on after its time was up", os.getpid(), limit.what
        )
        faulthandler.dump_traceback(file=2, all_threads=True)
    os._exit(EXIT_OVERDUE)


watchdog = Watchdog()
# The watchdog's thread does not exist after a fork.
os.register_at_fork(after_in_child=lambda: watchdog.__init__())  # type: ignore[misc]
