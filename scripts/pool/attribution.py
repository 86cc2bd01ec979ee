"""Which call a dead host is charged to, and with what error. Its other calls run again."""

import os
import signal
from collections.abc import Iterable
from typing import Any

from scripts.pool.host_client import HostClient
from scripts.protocol import wire
from scripts.protocol.calls import Call
from scripts.protocol.envelope import MAX_OUTPUT_BYTES
from scripts.protocol.errors import ScriptError, ScriptKilled, ScriptTimedOut

# So often may a call be lost without being to blame.
_MAX_LOSSES = 3
# So often may a host say that it has not begun a call that was left to it: it can just have looked
# when the worker took others back.
_MAX_RETURNS = 3
# A host that took so much of its memory before it died is taken to have died of the limit.
_NEARLY_FULL = 0.8
# What becomes of code that does not look whether it got the memory it asked for.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)

# Writing asks for many times what a text has, so the host may be far from its limit before that.
_TOO_MUCH_TO_WRITE = (
    "The script ran out of memory when its output was written; "
    f"an output may have {MAX_OUTPUT_BYTES} bytes."
)


class Blame:
    """Remembers what was lost before, so that no call kills hosts for ever and is never charged."""

    def __init__(self) -> None:
        self._losses: dict[Any, int] = {}
        self._returns: dict[Any, int] = {}

    def guilty_number(self, host: HostClient, status: int | None) -> int | None:
        """Find the call that a host died of, if it died of one."""
        lost = dict(host.unanswered())
        if not lost:
            return None
        first = next(iter(lost))
        running = host.page.running if host.page.running in lost else None
        if host.talks_nonsense:
            # Answers come a group at a time: only from a call alone in its group is it known whose
            # nonsense it was. The lane sees to it that these are alone next time.
            return first if host.groups[0].is_call_alone(first) else None
        if host.sentence is not None:
            # Between sentence and death the host may have ended the call it was sentenced for.
            if host.sentenced_number:
                return host.sentenced_number if host.sentenced_number in lost else None
            return running or first
        if running is not None and status is not None:
            return running
        return first if self._has_lost_too_often(lost[first]) else None

    def forget(self, calls: Iterable[Call]) -> None:
        """Forget what is known of calls that have come to an end."""
        if self._losses or self._returns:
            for call in calls:
                self._losses.pop(call.key, None)
                self._returns.pop(call.key, None)

    def has_come_back_too_often(self, call: Call) -> bool:
        """Count a call that comes back as not begun."""
        returns = self._returns[call.key] = self._returns.get(call.key, 0) + 1
        return returns > _MAX_RETURNS

    def clear(self) -> None:
        self._losses.clear()
        self._returns.clear()

    def _has_lost_too_often(self, call: Call) -> bool:
        losses = self._losses[call.key] = self._losses.get(call.key, 0) + 1
        return losses >= _MAX_LOSSES


def overdue(host: HostClient) -> ScriptError:
    """Say what a host is killed for that is over its time limit."""
    if not host.is_greeted:
        return ScriptKilled("The script's process did not start in time.")
    return ScriptTimedOut(limit_seconds=host.program.timeout_seconds)


def death(host: HostClient, status: int | None, peak_bytes: int) -> ScriptError:
    """Say how a host ended by itself: its wait status, None or FORK_FAILED if it has none.

    Whether a script made it die of its memory limit can only be guessed, by how near it came.
    """
    if status is None or status == wire.FORK_FAILED:
        return ScriptKilled("The script's process could not be started or was lost.")
    was_full = peak_bytes > (host.program.memory_mb << 20) * _NEARLY_FULL
    if os.WIFSIGNALED(status):
        signal_number = os.WTERMSIG(status)
        if not was_full and host.page.is_writing and signal_number in _CRASHES:
            return ScriptKilled(
                _TOO_MUCH_TO_WRITE, signal=signal_number, memory=True, peak_bytes=peak_bytes
            )
        return ScriptKilled(signal=signal_number, memory=was_full, peak_bytes=peak_bytes)
    code = os.WEXITSTATUS(status)
    if code == wire.EXIT_REFUSED:
        return ScriptKilled(_refused(host.missing_measures), exit_code=code)
    was_full = was_full or code == wire.EXIT_OUT_OF_MEMORY
    return ScriptKilled(exit_code=code, memory=was_full, peak_bytes=peak_bytes)


def _refused(missing: list[str]) -> str:
    text = "The script did not run: its process could not be sealed"
    return f"{text}. Missing here: {', '.join(missing)}." if missing else f"{text}."
