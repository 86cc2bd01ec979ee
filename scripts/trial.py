"""The test bench: runs code, saved or not, on one message in a script host of its own.

Nothing of the engine takes part: no flow, no queue, no database. A trial has processes of its own
that end with it, and so few of them at once that a web server has threads left for its callers.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from uuid_utils.compat import uuid7

from scripts.envelope import encode
from scripts.errors import OutputInvalid, ScriptError, ScriptInvalid, ScriptKilled, ScriptTimedOut
from scripts.runner import Call, CallSite, HostPool, Outcome, Program

# Somebody waits for the answer; nobody waits for a script that may take an hour.
MAX_SECONDS = 10.0
MAX_AT_ONCE = 2
# To start a script's process, and to kill it.
_PATIENCE_SECONDS = 15.0

_turns = threading.BoundedSemaphore(MAX_AT_ONCE)


class SampleInvalid(Exception):
    """The sample is not a message."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class TooManyTrials(Exception):
    """Other trials are running."""

    def __init__(self) -> None:
        super().__init__("Other trials are running; try again in a few seconds.")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. The output is JSON text; ``line`` is that of the code where it failed."""

    output: str | None
    error: ScriptError | None
    line: int | None
    logs: list[dict[str, Any]]
    warning: str | None
    started_at: float
    seconds: float
    peak_bytes: int

    @property
    def heading(self) -> str:
        """What kind of error it was, in a sentence."""
        return type(self.error).__doc__ or "" if self.error else ""

    @property
    def traceback(self) -> str:
        return getattr(self.error, "traceback", "")


def sample_message(text: str) -> bytes:
    """Return the message that a sample stands for: an object with a `payload` is one already,
    anything else becomes the payload of one. Raises SampleInvalid.
    """
    try:
        sample = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SampleInvalid(f"The sample is not valid JSON: {error}", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise SampleInvalid(f"The sample is not valid JSON: {error}") from error
    if not isinstance(sample, dict) or "payload" not in sample:
        sample = {"payload": sample}
    if not isinstance(sample.setdefault("correlationId", str(uuid7())), str):
        raise SampleInvalid("The sample's correlationId is no string.")
    try:
        return encode(sample)
    except OutputInvalid as error:
        raise SampleInvalid(f"The sample cannot be a message: {error}") from error


def run_trial(program: Program, message: bytes, *, is_last: bool = False) -> Trial:
    """Run the program on the message; as the last step of a flow its output may be anything.

    Takes at most ``MAX_SECONDS`` of the script's time. Raises TooManyTrials.
    """
    if not _turns.acquire(blocking=False):
        raise TooManyTrials
    try:
        outcome, peak_bytes = _run(program, message, is_last)
    finally:
        _turns.release()
    error = _explained(outcome.error, program)
    return Trial(
        output=None if outcome.output is None else outcome.output.decode(),
        error=error,
        line=None if error is None else line_of(error, program.name),
        logs=outcome.logs,
        warning=outcome.warning,
        started_at=outcome.started_at,
        seconds=outcome.finished_at - outcome.started_at,
        peak_bytes=peak_bytes,
    )


def line_of(error: ScriptError, name: str) -> int | None:
    """Return the line of the script where the error came up, where it is known."""
    if isinstance(error, ScriptInvalid):
        return error.line
    lines = re.findall(
        rf'^  File "{re.escape(name)}", line (\d+)', getattr(error, "traceback", ""), re.MULTILINE
    )
    return int(lines[-1]) if lines else None


def _run(program: Program, message: bytes, is_last: bool) -> tuple[Outcome, int]:
    limited = replace(program, timeout_seconds=min(program.timeout_seconds, MAX_SECONDS))
    correlation_id = json.loads(message)["correlationId"]
    site = CallSite(flow="trial", step=program.name, queue="trial", is_last=is_last)
    call = Call("trial", correlation_id, attempt=1, delivery_id="trial", body=message)
    pool = HostPool()
    try:
        pool.submit(limited, site, [call], hosts=1)
        deadline = time.monotonic() + limited.timeout_seconds + _PATIENCE_SECONDS
        while pool.outstanding() and time.monotonic() < deadline:
            if outcomes := pool.collect(1.0):
                pool.end_idle_hosts()
                return outcomes[0], pool.peak_bytes
        now = time.time()
        lost = ScriptKilled("The script's process gave no answer.")
        return Outcome(call, None, lost, None, [], now, now), 0
    finally:
        pool.close()


def _explained(error: ScriptError | None, program: Program) -> ScriptError | None:
    if isinstance(error, ScriptTimedOut) and program.timeout_seconds > MAX_SECONDS:
        return ScriptTimedOut(f"A trial ends after {MAX_SECONDS:g} s, whatever its time limit.")
    return error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
