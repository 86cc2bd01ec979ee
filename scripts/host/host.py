"""A script host: the loop that runs one script, call after call, in a process of its own.

The zygote forked the process and sandboxed it. It says to the worker that it is ready, reads its
program, compiles it and then runs one group of calls after the other:

    serve ─► _run_group ─► _begin    mark the call as begun, unless the worker took it back
                           _call     run the script; its output or its error
                           _answer   put the answer where the worker finds it even if this dies
                           _flush    send the answers, at the end of a group or every 5 ms

`service_client.py` sends requests of the running call to the worker by `send_request`. The worker's
end is `host_client.py`; `wire.py` has the protocol of the pipe.
"""

import json
import mmap
import os
import resource
import time
from collections.abc import Sequence
from math import inf, nextafter
from traceback import clear_frames
from typing import Any, NoReturn

from scripts.host.channel import Channel
from scripts.host.context import Context
from scripts.host.languages import BrokenScript, CompiledScript, compiled
from scripts.host.log import CallLog, LogPage
from scripts.host.service_client import ServiceClient
from scripts.host.tables import NO_TABLES, given_tables
from scripts.protocol.envelope import complete, plain_text
from scripts.protocol.errors import (
    ScriptError,
    ScriptInvalid,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRetry,
    ScriptTooLate,
    ScriptWait,
)
from scripts.protocol.flow_state import Change, as_rows
from scripts.protocol.progress import ProgressPage
from scripts.protocol.schema import Contract
from scripts.protocol.wire import (
    ANSWER,
    BEGAN,
    BEGUN,
    FINISHED,
    KINDS,
    MAX_TEXT_LENGTH,
    MAX_UNSENT_BYTES,
    OUTPUT,
    READY,
    RECALLED,
    REQUEST,
    RETURNED,
    UNSENT,
    UNSENT_AT,
    WENT,
    WRITTEN,
)

# Answers are sent at least this often, so that a long group reports progress.
_FLUSH_SECONDS = 0.005

# What a script changed in the state of its flow is kept with these, not where it failed.
_KEEP_STATE = (KINDS[ScriptRetry], KINDS[ScriptWait])

# Bound before a script can replace them.
_epoch = time.time
_clock = time.monotonic


class Host:
    """Runs one script, call after call, until the worker closes the channel."""

    def __init__(self, channel: Channel, shared: mmap.mmap, tables: Sequence[mmap.mmap]) -> None:
        self._channel = channel
        self._table_files = tables
        self._tables = NO_TABLES
        self._shared = memoryview(shared)
        self._memory_mb = 0
        self._times = self._shared.cast("d")
        self._numbers = self._shared.cast("Q")
        self._number = 0
        self._services = ServiceClient(self)
        self._log_page = LogPage(self._shared)
        self._write_progress = ProgressPage(self._shared).write
        self._unsent = 0
        self._flushed_at = 0.0
        self._is_worn_out = False
        self._peak_kb_at_start = _peak_kb()
        self._contract = Contract()

    def say_ready(self, missing: list[str]) -> None:
        """Report to the worker, with the measures of the sandbox that this process lacks."""
        extra = json.dumps(missing).encode()
        self._channel.write(ANSWER.pack(0, READY, 0, len(extra), 0.0, 0.0) + extra)

    def serve(self) -> NoReturn:
        program, _ = self._channel.read_frame()
        script = self._load(program)
        while True:
            self._run_group(script, *self._channel.read_group())

    @property
    def running(self) -> int:
        """The number of the call that runs."""
        return self._number

    def send_request(self, head: bytes, request: bytes) -> None:
        """Send a request of the running call, behind the answers of the calls before it."""
        if self._unsent:
            self._send_unsent()
            # The worker may just be reading these answers in the page. The changed time shows it
            # that they were sent, so that it does not take them twice.
            self._times[BEGAN] = nextafter(self._times[BEGAN], inf)
        header = ANSWER.pack(self._number, REQUEST, len(head), len(request), 0.0, 0.0)
        self._channel.write(header + head + request)

    def read_reply(self) -> tuple[int, bytes]:
        """Wait for a reply to a request of the running call."""
        return self._channel.read_reply(self._number)

    def _load(self, program: Any) -> CompiledScript:
        self._services.secret_names = tuple(program["secrets"])
        self._tables = given_tables(program["tables"], self._table_files)
        try:
            self._contract = Contract(program["inputSchema"], program["outputSchema"])
        except ScriptInvalid as error:
            return BrokenScript(error)
        script = compiled(
            program["language"],
            program["name"],
            program["code"],
            program["libraries"],
            program["memoryMb"],
        )
        script.timeout_seconds = program["timeoutSeconds"]
        self._memory_mb = program["memoryMb"]
        return script

    def _run_group(self, script: CompiledScript, head: Any, bodies: bytes) -> None:
        flow, step, queue, is_last, steps = head["site"]
        end = 0
        self._flushed_at = _clock()
        for correlation_id, attempt, delivery_id, size, start_by, waits in head["calls"]:
            start, end = end, end + size
            started_at, began = _epoch(), _clock()
            if not self._begin(began):
                self._answer(RETURNED, b"", b"", 0.0, 0.0)
                continue
            if start_by and started_at > start_by:
                kind, error = _described(ScriptTooLate())
                self._answer(kind, b"", _extra(error, None, []), started_at, 0.0)
                continue
            self._log_page.turn_to(self._number)
            context = Context(
                correlation_id,
                flow,
                step,
                queue,
                attempt,
                delivery_id,
                CallLog(self._log_page),
                self._services,
                self._number,
                self._write_progress,
                waits,
                steps,
                self._tables,
            )
            kind, output, extra = self._call(script, bodies[start:end], context, is_last)
            ended = _clock()
            self._answer(kind, output, extra, started_at, ended - began)
            if ended - self._flushed_at > _FLUSH_SECONDS:
                self._flush()
        self._flush()

    def _begin(self, clock: float) -> bool:
        """Mark the next call as begun; False if the worker has taken it back."""
        self._number += 1
        numbers, number = self._numbers, self._number
        if number <= numbers[RECALLED]:
            return False
        self._times[BEGAN] = clock
        numbers[BEGUN] = number
        # The worker recalls first and then reads the mark. This process marks first and then reads
        # the recall. So at least one of the two sees the other.
        return number > numbers[RECALLED]

    def _call(
        self, script: CompiledScript, body: bytes, context: Context, is_last: bool
    ) -> tuple[int, bytes, bytes]:
        """Run the script once; return the kind of the outcome, the output, and the rest as JSON."""
        log, correlation_id = context._log, context.correlation_id
        warning = error = None
        text = state = b""
        try:
            self._contract.check_input(body)
            output = script.run(body, context)
            self._numbers[WRITTEN] = self._number
            output, is_last = context._ending(output, is_last)
            if not is_last:
                output, warning = complete(output, correlation_id)
            text = context._encoded(output)
            self._contract.check_output(text, is_last)
        except ScriptError as reason:
            state = _state_of(reason)
            error = _described(reason)
        except MemoryError as reason:
            # The heap is fragmented, so another host takes over from here. Before that the script's
            # objects are released, or there is no memory to report the error.
            self._is_worn_out = True
            clear_frames(reason.__traceback__)
            traceback = getattr(_explained(script, reason), "traceback", "")
            peak_bytes = (_peak_kb() - self._peak_kb_at_start) * 1024
            full = ScriptOutOfMemory(
                traceback=traceback, peak_bytes=peak_bytes, limit_mb=self._memory_mb
            )
            error = _described(full)
        except BaseException as reason:
            explained = _explained(script, reason)
            state = _state_of(explained)
            error = _described(explained)
        output = None
        script.forget()
        if error is None:
            way, changes = context._goes_to, context._state_changes()
            kind = WENT if way else FINISHED if context._finish else OUTPUT
            return kind, text, _extra(None, warning, log.lines(), way, changes)
        changes = context._state_changes() if error[0] in _KEEP_STATE else []
        return error[0], state, _extra(error[1], None, log.lines(), "", changes)

    def _answer(
        self, kind: int, output: bytes, extra: bytes, started_at: float, seconds: float
    ) -> None:
        size = ANSWER.size + len(output) + len(extra)
        if self._unsent + size > MAX_UNSENT_BYTES:
            self._flush()
        header = (self._number, kind, len(output), len(extra), started_at, seconds)
        if size > MAX_UNSENT_BYTES:
            self._channel.write(ANSWER.pack(*header) + output + extra)
            return
        start = UNSENT_AT + self._unsent
        ANSWER.pack_into(self._shared, start, *header)
        start += ANSWER.size
        self._shared[start : start + len(output)] = output
        if extra:
            start += len(output)
            self._shared[start : start + len(extra)] = extra
        self._unsent += size
        self._numbers[UNSENT] = self._unsent

    def _flush(self) -> None:
        # No call runs while this waits for a busy worker.
        self._times[BEGAN] = 0.0
        self._send_unsent()
        if self._is_worn_out:
            os._exit(0)

    def _send_unsent(self) -> None:
        self._channel.write(self._shared[UNSENT_AT : UNSENT_AT + self._unsent])
        self._numbers[UNSENT] = self._unsent = 0
        self._flushed_at = _clock()


def _peak_kb() -> int:
    """Return the most memory that this process ever took, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _explained(script: CompiledScript, error: BaseException) -> ScriptError:
    try:
        return script.explain(error)
    except BaseException:
        # The script's own exception raises when it is formatted.
        return ScriptRaised(type.__repr__(type(error)))


def _state_of(error: ScriptError) -> bytes:
    """Take out the state of a waiting script: the worker shortens and masks the other texts."""
    if not isinstance(error, ScriptWait):
        return b""
    state, error.state = error.state.encode(), ""
    return state


def _described(error: ScriptError) -> tuple[int, dict[str, Any]]:
    details = {
        name: plain_text(value, MAX_TEXT_LENGTH) if isinstance(value, str) else value
        for name, value in vars(error).items()
    }
    return KINDS[type(error)], {"message": plain_text(str(error), MAX_TEXT_LENGTH), **details}


def _extra(
    error: dict[str, Any] | None,
    warning: str | None,
    logs: list[dict[str, Any]],
    step: str = "",
    changes: Sequence[Change] = (),
) -> bytes:
    if error is None and warning is None and not logs and not step and not changes:
        return b""
    # Not escaped: the escapes would make the longest allowed log larger than an answer may be.
    content: dict[str, Any] = {"error": error, "warning": warning, "logs": logs, "step": step}
    if changes:
        content["state"] = as_rows(changes)
    return json.dumps(content, ensure_ascii=False).encode()
