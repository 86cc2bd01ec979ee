"""Which call the end of a host is attributed to, and with what error. Others run again."""

import os
import signal
from collections.abc import Iterable
from functools import partial
from typing import Any

from scripts.pool.host_client import HostClient
from scripts.protocol import wire
from scripts.protocol.calls import Call
from scripts.protocol.envelope import MAX_OUTPUT_BYTES
from scripts.protocol.errors import ScriptError, ScriptKilled, ScriptTimedOut

# How often a call may be lost before it is taken for the one that ends its hosts.
_MAX_LOSSES = 3
# How often a host may say that it has not begun a call that was left to it: it can have looked just
# when the worker took others back.
_MAX_RETURNS = 3
# A host that took this part of its memory before it ended is taken to have hit the limit.
_NEARLY_FULL = 0.8
# The ends of code that does not look whether it got the memory it asked for.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)

# Writing asks for many times what a text has, so the host may be far from its limit before that.
_TOO_MUCH_TO_WRITE = (
    "The script ran out of memory when its output was written; "
    f"an output may have {MAX_OUTPUT_BYTES} bytes."
)


class FailureAttribution:
    """Finds the call that ended a host.

    It remembers which calls were lost before: a call that ends host after host without a proof gets
    the error at last.
    """

    def __init__(self) -> None:
        self._losses: dict[Any, int] = {}
        self._returns: dict[Any, int] = {}

    def failed_call(self, host: HostClient, status: int | None) -> int | None:
        """Return the number of the call that ended a host, None if no call did or it is unknown."""
        lost = dict(host.unanswered())
        if not lost:
            return None
        first = next(iter(lost))
        running = host.page.running if host.page.running in lost else None
        if host.broke_protocol:
            # Answers come a group at a time: which call wrote the wrong one is known only of a call
            # that is alone in its group. The lane makes these calls be alone next time.
            return first if host.groups[0].is_call_alone(first) else None
        if host.kill_reason is not None:
            # Before it was killed, the host may have ended the call that it was to be killed for.
            if host.killed_number:
                return host.killed_number if host.killed_number in lost else None
            return running or first
        if running is not None and status is not None:
            return running
        if host.is_worn_out:
            # The call that exhausted its memory was told so. It has begun none of these.
            return None
        return first if self._has_lost_too_often(lost[first]) else None

    def forget(self, calls: Iterable[Call]) -> None:
        """Forget calls that have come to an end."""
        if self._losses or self._returns:
            for call in calls:
                self._losses.pop(call.key, None)
                self._returns.pop(call.key, None)

    def has_come_back_too_often(self, call: Call) -> bool:
        """Count a call that comes back as not begun."""
        returns = self._returns[call.key] = self._returns.get(call.key, 0) + 1
        return returns > _MAX_RETURNS

    def may_come_back(self, call: Call) -> bool:
        """Say whether a call that comes back as not begun once more is no error yet."""
        return self._returns.get(call.key, 0) < _MAX_RETURNS

    def clear(self) -> None:
        """Forget all calls."""
        self._losses.clear()
        self._returns.clear()

    def _has_lost_too_often(self, call: Call) -> bool:
        losses = self._losses[call.key] = self._losses.get(call.key, 0) + 1
        return losses >= _MAX_LOSSES


def overdue_error(host: HostClient) -> ScriptError:
    """Return the error of the call of a host that is over its time limit."""
    if not host.is_ready:
        return ScriptKilled("The script's process did not start in time.")
    return ScriptTimedOut(limit_seconds=host.program.timeout_seconds)


def exit_error(host: HostClient, status: int | None, peak_bytes: int) -> ScriptError:
    """Return the error of the call that a host ended in by itself.

    `status` is the host's wait status, None or FORK_FAILED where it has none. Whether the memory
    limit ended it can only be guessed, from how near to it the host came.
    """
    if status is None or status == wire.FORK_FAILED:
        return ScriptKilled("The script's process could not be started or was lost.")
    killed = partial(ScriptKilled, peak_bytes=peak_bytes, limit_mb=host.program.memory_mb)
    was_full = peak_bytes > (host.program.memory_mb << 20) * _NEARLY_FULL
    if os.WIFSIGNALED(status):
        signal_number = os.WTERMSIG(status)
        if not was_full and host.page.is_writing and signal_number in _CRASHES:
            return ScriptKilled(
                _TOO_MUCH_TO_WRITE, signal=signal_number, memory=True, peak_bytes=peak_bytes
            )
        return killed(signal=signal_number, memory=was_full)
    code = os.WEXITSTATUS(status)
    if code == wire.EXIT_REFUSED:
        return ScriptKilled(_refused(host.missing_measures), exit_code=code)
    was_full = was_full or code == wire.EXIT_OUT_OF_MEMORY
    return killed(exit_code=code, memory=was_full)


def restart_reason(error: ScriptError) -> str:
    """Return a word for why a call has ended its host, of few."""
    if isinstance(error, ScriptTimedOut):
        return "timeout"
    if not isinstance(error, ScriptKilled):
        return "other"
    if error.memory:
        return "memory"
    return "killed" if error.signal is not None else "exit"


def _refused(missing: list[str]) -> str:
    text = "The script did not run: its process could not be sandboxed"
    return f"{text}. Missing here: {', '.join(missing)}." if missing else f"{text}."
