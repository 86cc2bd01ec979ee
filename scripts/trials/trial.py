"""Trials: run code, saved or not, on one message in a script host of their own.

No flow and no queue take part, and nothing is stored; outside calls are really made. A trial has
processes of its own that end with it. The number of trials at a time is limited, so that a web
server has threads left for its callers.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from uuid_utils.compat import uuid7

from scripts.callables.calls import CallableCall
from scripts.examination.examiner import NotExamined, examiner
from scripts.models.secret_values import known_values
from scripts.pool.host_pool import HostPool
from scripts.pool.mask import mask_of
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.envelope import encode
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptKilled,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptTimedOut,
    ScriptWait,
)
from scripts.protocol.json_text import MAX_DEPTH, STRING, is_deeper_than
from scripts.protocol.numerals import Numerals, loads
from scripts.protocol.rejections import as_json
from scripts.protocol.services import START_SERVICE, STATE_SERVICE, Service
from scripts.protocol.strict_json import read_exactly
from scripts.protocol.wire import MAX_TEXT_LENGTH
from scripts.services.engine import engine_services
from scripts.trials.starts import TrialStarts
from scripts.trials.states import TriedState

# A person waits for the result, and does not wait for a script that may take an hour.
MAX_SECONDS = 10.0
MAX_AT_ONCE = 2
# How long a trial waits for the end of others.
SLOT_SECONDS = 3.0
# The time to start a script's process, and to kill it.
_PATIENCE_SECONDS = 15.0
# Characters of a value that a sentence shows.
_MAX_SHOWN = 500
_SCALAR = re.compile(STRING.decode() + r"|-?\d[\d.eE+-]*", re.DOTALL)

_slots = threading.BoundedSemaphore(MAX_AT_ONCE)


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
class SampleMessage:
    """A message for a trial, and the path of the sample's text in it."""

    body: bytes
    root: str = "$"


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial.

    The output is JSON text. Beside an error it is there only where the output structure refused it.
    `line` is the line of the code that failed. `faults` has what the schemas found in the message
    or the output: path and detail.
    """

    output: str | None
    error: ScriptError | None
    line: int | None
    faults: list[dict[str, str]]
    logs: list[dict[str, Any]]
    warning: str | None
    started_at: float
    seconds: float
    peak_bytes: int
    # The run, or its branch, would end with the output.
    finishes: bool = False
    # The step that the output would go to, "" for the next one.
    goes_to: str = ""
    # The state of the flow as the script has left it, JSON texts by key.
    state: dict[str, str] = field(default_factory=dict)
    # The runs that it would start: flow, payload, which is JSON text, and options.
    starts: list[dict[str, Any]] = field(default_factory=list)
    # How far it has said last that it is.
    progress: dict[str, Any] | None = None

    @property
    def outcome(self) -> str:
        """The end in a word: COMPLETED, RETRY, WAITING, REJECTED or FAILED."""
        if self.error is None:
            return "COMPLETED"
        if isinstance(self.error, ScriptRetry):
            return "RETRY"
        if isinstance(self.error, ScriptWait):
            return "WAITING"
        return "REJECTED" if isinstance(self.error, ScriptRejected) else "FAILED"

    @property
    def heading(self) -> str:
        """The kind of error, in a sentence."""
        if isinstance(self.error, ScriptTimedOut | ScriptOutOfMemory):
            return str(self.error)
        if isinstance(self.error, ScriptRetry | ScriptWait) and self.error.after is not None:
            does = "waits, and asked" if isinstance(self.error, ScriptWait) else "asked"
            return f"The script {does} to be run again in {self.error.after:g} s."
        return type(self.error).__doc__ or "" if self.error else ""

    @property
    def decisions(self) -> list[str]:
        """What the script has decided besides its output, in sentences."""
        way = [f"The output would go to the step {self.goes_to!r}."] if self.goes_to else []
        starts = [
            f"It would start the flow {each['flow']!r} with {each['payload'][:_MAX_SHOWN]}"
            f"{_in_words(each['options'])}."
            for each in self.starts[:10]
        ]
        return [*way, *self.told, *starts]

    @property
    def told(self) -> list[str]:
        """The decisions that are neither a way nor a start."""
        error, found = self.error, []
        if self.finishes:
            found.append("The run would end with the output as its result.")
        if isinstance(error, ScriptRejected) and error.code:
            found.append(f"The code of the rejection is {error.code!r}.")
        if isinstance(error, ScriptRejected) and error.details:
            found.append(f"The details of the rejection are {error.details[:_MAX_SHOWN]}.")
        if isinstance(error, ScriptWait) and error.state:
            found.append(f"The next attempt would find the state {error.state[:_MAX_SHOWN]}.")
        if self.progress:
            total = "" if self.progress["total"] is None else f" of {self.progress['total']}"
            said = f": {self.progress['text']}" if self.progress["text"] else ""
            found.append(f"Its last progress is {self.progress['done']}{total}{said}.")
        return found

    def as_json(self) -> str:
        """Return all of it as the text of a JSON object, with the digits of its values."""
        error = self.error
        wait_state = error.state if isinstance(error, ScriptWait) else ""
        written = {
            "outcome": self.outcome,
            "output": _fragment(self.output),
            "error": None if error is None else str(error),
            "line": self.line,
            "traceback": self.traceback or None,
            "code": getattr(error, "code", None),
            "details": _fragment(as_json(getattr(error, "details", None))),
            "after": getattr(error, "after", None),
            "waitState": _fragment(wait_state),
            "finishes": self.finishes,
            "goesTo": self.goes_to or None,
            "starts": [
                {"flow": each["flow"], "payload": _fragment(each["payload"]), **each["options"]}
                for each in self.starts
            ],
            "state": {key: _fragment(text) for key, text in self.state.items()},
            "progress": self.progress,
            "warning": self.warning,
            "faults": self.faults,
            "logs": self.logs,
            "milliseconds": round(self.seconds * 1000, 1),
            "memoryMb": round(self.peak_bytes / 2**20, 1),
        }
        return orjson.dumps(written).decode()

    @property
    def traceback(self) -> str:
        return getattr(self.error, "traceback", "")


def _in_words(options: dict[str, Any]) -> str:
    shown = ", ".join(f"{name} {str(value)[:_MAX_SHOWN]}" for name, value in options.items())
    return f" ({shown})" if shown else ""


def _fragment(text: str | None) -> orjson.Fragment | None:
    """Return JSON text as it is written into other JSON."""
    return orjson.Fragment(text) if text else None


def sample_message(text: str) -> SampleMessage:
    """Return the message for a sample: an object with a `payload` is a message, any other value
    becomes the payload of one. Raises SampleInvalid.
    """
    if is_deeper_than(text.encode("utf-8", "replace"), MAX_DEPTH + 1):
        raise SampleInvalid(f"The sample is nested more than {MAX_DEPTH} deep.")
    try:
        read_exactly(text)
        numerals: Numerals = {}
        sample = loads(text, numerals)
    except json.JSONDecodeError as error:
        raise SampleInvalid(f"The sample is not valid JSON: {error}", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise SampleInvalid(f"The sample is not valid JSON: {error}") from error
    root = "$"
    if not isinstance(sample, dict) or "payload" not in sample:
        sample, root = {"payload": sample}, "$.payload"
    if not isinstance(sample.setdefault("correlationId", str(uuid7())), str):
        raise SampleInvalid("The sample's correlationId is no string.")
    try:
        return SampleMessage(encode(sample, numerals), root)
    except OutputInvalid as error:
        raise SampleInvalid(f"The sample cannot be a message: {error}") from error


def run_trial(
    program: Program,
    message: bytes,
    *,
    is_last: bool = False,
    services: Mapping[str, Service] | None = None,
    goes_to: tuple[str, ...] | None = None,
    state: TriedState | None = None,
    may_start: tuple[str, ...] | None = None,
) -> Trial:
    """Run the program on the message; as the last step of a flow its output may be anything.

    `services` are those that it may use, by name; None: the engine's own. `goes_to` are the steps
    that it may go to, `may_start` the flows that it may start; None: any. It starts none of them.
    The state of its flow is `state`, which keeps what it changes; None: one that is empty.

    The script may take `MAX_SECONDS` at most. A callable runs in this process, which ends if the
    callable cannot be stopped; its writes to the database are rolled back. Raises TooManyTrials.
    """
    state = TriedState() if state is None else state
    if not _slots.acquire(timeout=SLOT_SECONDS):
        raise TooManyTrials
    try:
        # The host would not return an output that does not match, so the output is checked here.
        ways = () if is_last else goes_to
        site = CallSite("trial", program.name, "trial", is_last, starts=may_start, goes_to=ways)
        tried = replace(program, output_schema="")
        outcome, peak_bytes = _run(tried, message, site, services, state)
    finally:
        _slots.release()
    error, faults = _checked(program, message, is_last or outcome.finishes, outcome)
    if error is None and state.fault:
        error = ScriptRaised(state.fault)
    clean = mask_of(known_values(program.secrets)).clean
    output = None if outcome.output is None else outcome.output.decode()
    if isinstance(error, ScriptWait):
        error.state = _masked(error.state, clean)
    if isinstance(error, OutputInvalid):
        error = OutputInvalid(clean(str(error), MAX_TEXT_LENGTH), place=error.place)
    return Trial(
        output=None if output is None else _masked(output, clean),
        error=error,
        line=None if error is None else line_of(error, program.name),
        faults=[each | {"detail": clean(each["detail"], MAX_TEXT_LENGTH)} for each in faults],
        logs=outcome.logs,
        warning=outcome.warning or _warning_of_secrets(output, clean),
        started_at=outcome.started_at,
        seconds=outcome.finished_at - outcome.started_at,
        peak_bytes=peak_bytes,
        finishes=outcome.finishes,
        goes_to=outcome.goes_to,
        state={key: _masked(text, clean) for key, text in sorted(state.values.items())},
        starts=[
            _shown_start(each, clean)
            for _, each in sorted(outcome.call.starts.items())
            if isinstance(each, dict)
        ],
        progress=outcome.progress,
    )


def _shown_start(start: dict[str, Any], clean: Callable[[str, int], str]) -> dict[str, Any]:
    """Return a start without secrets."""
    options = {
        name: clean(value, len(value)) if isinstance(value, str) else value
        for name, value in start["options"].items()
    }
    return {
        "flow": start["flow"],
        "payload": _masked(start["payload"], clean),
        "options": options,
    }


def _masked(text: str, clean: Callable[[str, int], str]) -> str:
    """Return JSON text without secrets, which is JSON: a number that has one becomes a text."""

    def masked(found: re.Match[str]) -> str:
        written = found[0]
        value = json.loads(written) if written[0] == '"' else written
        shown = clean(value, len(value))
        return written if shown == value else json.dumps(shown, ensure_ascii=False)

    shown = clean(text, len(text))
    return shown if shown == as_json(shown) else _SCALAR.sub(masked, text)


def _warning_of_secrets(output: str | None, clean: Callable[[str, int], str]) -> str | None:
    if output is None or clean(output, len(output)) == output:
        return None
    return "the output has a secret, which is not replaced in a run: it is stored as it is"


def line_of(error: ScriptError, name: str) -> int | None:
    """Return the line of the script where the error occurred, None where it is not known."""
    if isinstance(error, ScriptInvalid):
        return error.line
    traceback, name = getattr(error, "traceback", ""), re.escape(name)
    # The innermost frame comes last in Python and first in JavaScript.
    if lines := re.findall(rf'^  File "{name}", line (\d+)', traceback, re.MULTILINE):
        return int(lines[-1])
    lines = re.findall(rf"^    at (?:.* \()?{name}:(\d+):\d+\)?$", traceback, re.MULTILINE)
    return int(lines[0]) if lines else None


def _run(
    program: Program,
    message: bytes,
    site: CallSite,
    services: Mapping[str, Service] | None,
    state: TriedState,
) -> tuple[Outcome, int]:
    limited = replace(program, timeout_seconds=min(program.timeout_seconds, MAX_SECONDS))
    correlation_id = json.loads(message)["correlationId"]
    call = Call("trial", correlation_id, attempt=1, delivery_id="trial", body=message)
    if program.is_callable:
        running = CallableCall(limited, site, call, state=state, starter=TrialStarts())
        return _run_here(running), 0

    def make_services() -> dict[str, Service]:
        given = engine_services() if services is None else services
        return {**given, STATE_SERVICE: state, START_SERVICE: TrialStarts()}

    pool = HostPool(
        services=make_services,
        allow_unsandboxed=settings.ASYNCENGINE_UNSEALED_SCRIPTS,
        keeps_progress=True,
    )
    try:
        pool.submit(limited, site, [call], hosts=1)
        deadline = time.monotonic() + limited.timeout_seconds + _PATIENCE_SECONDS
        while pool.outstanding() and time.monotonic() < deadline:
            if outcomes := pool.collect(1.0):
                pool.end_idle_hosts()
                # A host that is still there has told its peak with the error.
                told = getattr(outcomes[0].error, "peak_bytes", 0)
                return outcomes[0], max(pool.peak_bytes, told)
        epoch = time.time()
        lost = ScriptKilled("The script's process gave no answer.")
        return Outcome(call, None, lost, None, [], epoch, epoch), 0
    finally:
        pool.close()


def _checked(
    program: Program, message: bytes, is_last: bool, outcome: Outcome
) -> tuple[ScriptError | None, list[dict[str, str]]]:
    """Return the error, also that of the output structure, and the faults of the schemas."""
    error = outcome.error
    if isinstance(error, InputInvalid):
        return error, _examined("input", program.input_schema, message.decode()) or []
    if isinstance(error, ScriptTimedOut) and program.timeout_seconds > MAX_SECONDS:
        text = f"A trial ends after {MAX_SECONDS:g} s, whatever its time limit."
        text += f" It was at {error.where}." if error.where else ""
        return ScriptTimedOut(text, where=error.where, traceback=error.traceback), []
    if outcome.output is None:
        return error, []
    if not program.output_schema:
        return None, []
    found = _examined("output", program.output_schema, outcome.output.decode(), is_last)
    if found is None:
        return OutputInvalid("The output could not be checked against the output structure."), []
    if "invalid" in found:
        return ScriptInvalid(found["invalid"]), []
    if "error" in found:
        return OutputInvalid(found["error"], place=found["place"]), found["faults"]
    return None, []


def _examined(what: str, *arguments: Any) -> Any:
    """Return the findings of a sandboxed process, None where it takes too long."""
    try:
        return examiner.examine(what, *arguments)
    except NotExamined:
        return None


def _run_here(running: CallableCall) -> Outcome:
    with transaction.atomic():
        outcome = running.outcome()
        transaction.set_rollback(True)
    return outcome
