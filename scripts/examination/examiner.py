"""Has a sandboxed process check the code and schemas of authors, within time and memory limits.

A thread of this process keeps a script host for that. The host starts when it is first needed, and
ends after a minute without work. A few threads may wait for their turn, for some seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from queue import Empty, Queue
from typing import Any

from django.conf import settings

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptError, ScriptKilled, ScriptTimedOut

logger = logging.getLogger(__name__)

# The limits of one piece of work.
SECONDS = 2.0
MEMORY_MB = 256
# The most seconds until its turn, and until the process has started.
TURN_SECONDS = 5.0
START_SECONDS = 15.0
MAX_WAITING = 4
IDLE_SECONDS = 60.0

_PROGRAM = Program(-1, "examination", "examination", "", SECONDS, MEMORY_MB)
_SITE = CallSite(flow="", step="examination", queue="", is_last=True)


class NotExamined(Exception):
    """The work could not be done."""


class TooMuchToExamine(NotExamined):
    """It takes more time or memory than it may."""

    def __init__(self) -> None:
        super().__init__(f"It takes more than {SECONDS:g} s or {MEMORY_MB} MB to look at it.")


class ExaminerBusy(NotExamined):
    """Others are waiting already. Try again in a few seconds."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class _Work:
    def __init__(self, what: str, arguments: tuple[Any, ...]) -> None:
        message = {"correlationId": "", "payload": {"what": what, "arguments": arguments}}
        # Escaped: code may hold lone surrogates.
        self.body = json.dumps(message).encode()
        self.outcome: Future[Outcome] = Future()


class Examiner:
    """Gives work to a thread that keeps the host. Any thread may call it."""

    def __init__(self) -> None:
        """Start nothing yet. Called again in a forked process, which has only one thread."""
        self._lock = threading.Lock()
        self._keeper: threading.Thread | None = None
        self._work: Queue[_Work | None] = Queue()
        self._waiting = 0

    def examine(self, what: str, *arguments: Any) -> Any:
        """Return the findings. Raises TooMuchToExamine, ExaminerBusy or NotExamined."""
        work = _Work(what, arguments)
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise ExaminerBusy
            if self._keeper is None:
                # Kept only then: the system may let no thread be made.
                keeper = threading.Thread(target=self._keep, name="examiner", daemon=True)
                keeper.start()
                self._keeper = keeper
            self._waiting += 1
            self._work.put(work)
        try:
            return _found(work.outcome.result(TURN_SECONDS + START_SECONDS))
        except TookTooLong:
            work.outcome.cancel()
            raise ExaminerBusy from None
        finally:
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        """End the process, in 3 s at most. The next work starts another."""
        with self._lock:
            keeper, self._keeper = self._keeper, None
            if keeper is not None:
                self._work.put(None)
                self._work = Queue()
        if keeper is not None:
            keeper.join(3.0)

    def _keep(self) -> None:
        queue = self._work
        pool = HostPool(allow_unsandboxed=settings.ASYNCENGINE_UNSEALED_SCRIPTS)
        try:
            while (work := self._next(queue)) is not None:
                if work.outcome.set_running_or_notify_cancel():
                    _do(pool, work)
        finally:
            pool.close()

    def _next(self, queue: Queue[_Work | None]) -> _Work | None:
        try:
            return queue.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if not queue.empty():
                    return queue.get()
                if self._work is queue:
                    self._keeper = None
                return None


def _do(pool: HostPool, work: _Work) -> None:
    try:
        work.outcome.set_result(_outcome(pool, Call(work, "", 1, "", work.body)))
    except Exception as error:
        logger.exception("an examination failed")
        work.outcome.set_exception(NotExamined(f"It could not be looked at: {error}"))


def _outcome(pool: HostPool, call: Call) -> Outcome:
    pool.submit(_PROGRAM, _SITE, [call], hosts=1)
    deadline = time.monotonic() + SECONDS + START_SECONDS
    while time.monotonic() < deadline:
        for outcome in pool.collect(0.5):
            if outcome.call is call:
                pool.watch_idle_hosts()
                return outcome
    pool.close()
    epoch = time.time()
    lost = ScriptKilled("The process that looks at it gave no answer.")
    return Outcome(call, None, lost, None, [], epoch, epoch)


def _found(outcome: Outcome) -> Any:
    if outcome.output is not None:
        return json.loads(outcome.output)
    if _is_too_much(outcome.error):
        raise TooMuchToExamine
    raise NotExamined(f"It could not be looked at: {outcome.error}")


def _is_too_much(error: ScriptError | None) -> bool:
    if isinstance(error, ScriptKilled):
        return error.memory or error.signal is not None
    return isinstance(error, ScriptTimedOut) or hasattr(error, "peak_bytes")


examiner = Examiner()
atexit.register(examiner.close)
with contextlib.suppress(AttributeError):
    os.register_at_fork(after_in_child=lambda: Examiner.__init__(examiner))
