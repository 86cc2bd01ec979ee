"""One message for a callable. The result is an Outcome, like that of a script."""

from __future__ import annotations

import time
import traceback
import types
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from math import inf
from typing import Any

from scripts.callables import Reject, Retry, Wait
from scripts.callables.leftovers import apart
from scripts.callables.logs import MessageOfLogs, message_of_logs
from scripts.callables.places import timed_out
from scripts.callables.service_client import CallableServices
from scripts.callables.tables import tables_of
from scripts.callables.watchdog import Limit, TimeIsUp, watchdog
from scripts.dotted_path import function_at
from scripts.host.context import Context
from scripts.host.lasting import is_lasting, is_wrong_call
from scripts.host.log import CallLog
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.envelope import complete, decode, encode
from scripts.protocol.errors import (
    ScriptError,
    ScriptInvalid,
    ScriptKilled,
    ScriptRaised,
    ScriptRetry,
    ScriptTooLate,
    ScriptWait,
)
from scripts.protocol.flow_state import StateChanges, versioned
from scripts.protocol.outputs import fault_of
from scripts.protocol.progress import Progress
from scripts.protocol.rejections import rejected
from scripts.protocol.schema import Contract
from scripts.protocol.services import CallService, Service
from scripts.protocol.wait_state import waiting
from scripts.protocol.wire import MAX_LOG_LENGTH, MAX_TEXT_LENGTH
from scripts.traces import in_trace_of

_MAX_FRAMES = 20

# The output, and a warning if it was corrected.
Output = tuple[bytes, str | None]


class CallableCall:
    """A call of a callable, to be made in this process."""

    def __init__(
        self,
        program: Program,
        site: CallSite,
        call: Call,
        most_seconds: float = inf,
        state: Service | None = None,
        starter: CallService | None = None,
    ) -> None:
        self.program = program
        self.call = call
        self.limit = Limit(
            min(program.timeout_seconds, most_seconds), f"the callable {program.code!r}"
        )
        self.is_cancelled = False
        # Epoch seconds; 0 before it has begun.
        self.started_at = 0.0
        self._site = site
        self._log = CallLog()
        self._progress: Progress | None = None
        self._finishes = False
        self._goes_to = ""
        self._made: Context | None = None
        self._services = CallableServices(program, self.limit.seconds, site, call, state, starter)

    def outcome(self, around: Callable[[Callable[[], Output]], Output] | None = None) -> Outcome:
        """Run it in this thread, through `around` if given, which gets the function to call."""
        started_at = self.started_at = time.time()
        output = warning = error = None
        try:
            if self.call.start_by and started_at > self.call.start_by:
                raise ScriptTooLate
            output, warning = around(self._watched) if around else self._watched()
        except BaseException as reason:
            error = self._explained(reason)
        ended_at = time.time()
        outcome = Outcome(self.call, output, error, warning, self.logs(), started_at, ended_at)
        if error is None:
            outcome.finishes, outcome.goes_to = self._finishes, self._goes_to
        outcome.state, outcome.progress = self._state(error), self.progress()
        return outcome

    def _state(self, error: ScriptError | None) -> StateChanges | None:
        """Return what it has changed in the state of its flow, unless it has failed."""
        if self._made is None or not (error is None or isinstance(error, ScriptRetry | ScriptWait)):
            return None
        state = versioned(self._made._state_changes())
        if state:
            self._services.note_state(self._site, state)
        return state

    def logs(self) -> list[dict[str, Any]]:
        """Return what it has said so far, without secrets."""
        return [
            line | {"text": self._services.clean(line["text"], MAX_LOG_LENGTH)}
            for line in self._log.lines()
        ]

    def progress(self) -> dict[str, Any] | None:
        """Return how far it has said that it is, without secrets."""
        return self._progress and self._progress.document(self._services.clean)

    def _keep_progress(self, _: int, progress: Progress) -> None:
        self._progress = progress

    def _watched(self) -> Output:
        with in_trace_of(self.call):
            return watchdog.call(self.limit, apart, self._run)

    def _run(self) -> Output:
        call, site = self.call, self._site
        # Set until the end of the context in which this runs.
        message_of_logs.set(MessageOfLogs(call.correlation_id, site.flow, site.step, call.attempt))
        contract = contract_of(self.program.input_schema, self.program.output_schema)
        function = self._function()
        contract.check_input(call.body)
        context = self._context()
        output, warning = function(decode(call.body, context._numerals), context), None
        if call.unreadable:
            # Whatever it has made of that: a transaction around it is to be rolled back.
            raise RuntimeError(call.unreadable)
        output, is_last = context._ending(output, site.is_last)
        if not is_last:
            output, warning = complete(output, call.correlation_id)
        text = encode(output, context._numerals)
        if fault := fault_of(text, call.body, call.correlation_id, is_last):
            raise fault
        contract.check_output(text, is_last)
        self._finishes, self._goes_to = bool(context._finish), context._goes_to
        return text, warning

    def _function(self) -> Callable[..., Any]:
        """Return the function. Its lack is no fault of the script: another machine may have it, or
        the next deployment."""
        try:
            return function_at(self.program.code)
        except ScriptInvalid as error:
            raise ScriptRaised(str(error)) from error

    def _context(self) -> Context:
        call, site = self.call, self._site
        self._made = Context(
            call.correlation_id,
            site.flow,
            site.step,
            site.queue,
            call.attempt,
            call.delivery_id,
            self._log,
            self._services,
            0,
            self._keep_progress,
            asdict(call.waits) if call.waits else None,
            site.goes_to,
            tables_of(self.program),
        )
        return self._made

    def _explained(self, reason: BaseException) -> ScriptError:
        if self.is_cancelled:
            return ScriptKilled("cancelled")
        if isinstance(reason, TimeIsUp):
            clean = self._services.clean
            return timed_out(
                self.limit.seconds, self.limit.stack, CallableCall._run.__code__, clean
            )
        error, clean = explained(reason, self._made), self._services.clean
        error.args = (clean(str(error), MAX_TEXT_LENGTH),)
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, clean(value, MAX_TEXT_LENGTH))
        return error


@lru_cache(maxsize=256)
def contract_of(input_schema: str, output_schema: str) -> Contract:
    return Contract(input_schema, output_schema)


def explained(error: BaseException, context: Context | None = None) -> ScriptError:
    """Return the error that an exception of a callable means. `context` is that of its call."""
    numerals = context._numerals if context else None
    has_failed = context is not None and context._outside_failed
    if isinstance(error, ScriptError):
        return error
    try:
        if isinstance(error, Retry):
            return ScriptRetry(after=error.after, reason=str(error.reason))
        if isinstance(error, Wait):
            return waiting(error.after, str(error.reason), error.state, numerals)
        if isinstance(error, Reject):
            return rejected(str(error.reason), error.code, error.details, numerals)
        headline = "".join(traceback.format_exception_only(error)).strip()
        frames = _own_frames(error.__traceback__)
        trace = "".join(traceback.format_exception(type(error), error, frames, -_MAX_FRAMES))
    except Exception:
        # The exception raises when it is formatted.
        return ScriptRaised(type.__repr__(type(error)))
    # The end shows where it was raised.
    is_mistake = is_wrong_call(error) and not has_failed
    kind = ScriptInvalid if is_lasting(error) or is_mistake else ScriptRaised
    return kind(headline, traceback=trace[-MAX_TEXT_LENGTH:])


def _own_frames(frames: types.TracebackType | None) -> types.TracebackType | None:
    """Leave out the frames before the callable's own."""
    frame = frames
    while frame is not None:
        if frame.tb_frame.f_code is CallableCall._run.__code__:
            return frame.tb_next
        frame = frame.tb_next
    return frames
