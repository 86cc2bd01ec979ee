"""The answers of a host, read by its worker, which does not trust them.

A script can reach its host's pipe by tricks. Whatever it writes there, the worker gets a
well-formed outcome or a `ProtocolError`, and then kills the host.

    AnswerStream   cuts the bytes of the pipe, and those found in the shared page, into answers
    outcome_of     checks one answer and makes an outcome of it
"""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import orjson

from scripts.pool.group import Group
from scripts.protocol import wire
from scripts.protocol.calls import Call, Outcome
from scripts.protocol.envelope import MAX_OUTPUT_BYTES, plain_text
from scripts.protocol.errors import OutputInvalid, ScriptError, ScriptRetry, ScriptWait
from scripts.protocol.flow_state import StateChanges, from_rows, versioned
from scripts.protocol.outputs import fault_of
from scripts.protocol.wait_state import is_state
from scripts.protocol.wire import ProtocolError

_MAX_EXTRA_BYTES = 8 * 1024 * 1024
_MAX_NUMBER = 2**62
PLAIN_OUTPUTS = (wire.OUTPUT, wire.FINISHED)
OUTPUTS = (*PLAIN_OUTPUTS, wire.WENT)
# The attributes of errors that are numbers, besides those that may be fractions.
_NUMBERS = ("line", "peak_bytes")

# Number, kind, output, JSON, start, seconds.
Answer = tuple[int, int, bytes, bytes, float, float]
# Returns a text that can be stored, shortened to a number of characters.
Clean = Callable[[str, int], str]


class AnswerStream:
    """The answers of one host, in order and each of them once."""

    def __init__(self) -> None:
        self._found_to = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = 0

    def read(self, chunk: bytes) -> Iterator[Answer]:
        """Yield the answers that a piece of the pipe's content completes. Raises ProtocolError."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size < self._wanted:
            return
        data = chunk if len(self._pieces) == 1 else b"".join(self._pieces)
        used = yield from _complete_answers(data, self._found_to)
        self._pieces = [data[used:]] if used < len(data) else []
        self._size = len(data) - used
        self._wanted = _wanted_bytes(data, used)

    def find(self, unsent: bytes, number: int) -> Iterator[Answer]:
        """Yield the answers from this number on among those that a host has not sent.

        Those before are known; where some are missing in between, the pipe still has them. Raises
        ProtocolError.
        """
        for answer in _complete_answers(unsent, self._found_to):
            if answer[0] == number:
                self._found_to = number
                number += 1
                yield answer


def outcome_of(answer: Answer, group: Group, epoch: float, clean: Clean = plain_text) -> Outcome:
    """Make the outcome of a group's next call. Raises ProtocolError for what no host answers."""
    _, kind, output, extra, started_at, seconds = answer
    if group.done >= group.kept:
        raise ProtocolError
    if not group.sent_at <= started_at <= epoch or not 0 <= seconds <= epoch:
        # The clock was set, or a script has forged the answer.
        started_at, seconds = epoch, 0.0
    ended_at = min(started_at + seconds, epoch)
    call = group.calls[group.done]
    finishes = kind == wire.FINISHED
    is_output = kind in OUTPUTS
    fault = _fault(output, call, group.site.is_last or finishes) if is_output else None
    if is_output and fault is None and not extra and kind in PLAIN_OUTPUTS:
        return Outcome(call, output, None, None, [], started_at, ended_at, finishes)
    error: ScriptError | None = None
    warning: str | None = None
    logs: list[dict[str, Any]] = []
    step = ""
    state: StateChanges | None = None
    if extra or kind not in PLAIN_OUTPUTS:
        error, warning, logs, step, state = _details(kind, extra, clean)
    if step and group.site.goes_to is not None and step not in group.site.goes_to:
        raise ProtocolError
    if isinstance(error, ScriptWait):
        if not is_state(output):
            raise ProtocolError
        error.state = output.decode()
    error = fault or error
    result = output if error is None else None
    if state and not (error is None or isinstance(error, ScriptRetry | ScriptWait)):
        state = None
    return Outcome(call, result, error, warning, logs, started_at, ended_at, finishes, step, state)


def _fault(output: bytes, call: Call, is_last: bool) -> OutputInvalid | None:
    try:
        return fault_of(output, call.body, call.correlation_id, is_last)
    except ValueError:
        raise ProtocolError from None


def _complete_answers(data: bytes, known: int) -> Generator[Answer, None, int]:
    """Yield the complete answers that data begins with, but those up to the known number.

    Returns where the rest begins.
    """
    offset, end, head_bytes = 0, len(data), wire.ANSWER.size
    unpack = wire.ANSWER.unpack_from
    while end - offset >= head_bytes:
        number, kind, output_bytes, extra_bytes, started, seconds = unpack(data, offset)
        if output_bytes > MAX_OUTPUT_BYTES or extra_bytes > _MAX_EXTRA_BYTES:
            raise ProtocolError
        start = offset + head_bytes
        middle = start + output_bytes
        stop = middle + extra_bytes
        if stop > end:
            break
        offset = stop
        if number > known or kind == wire.READY:
            yield number, kind, data[start:middle], data[middle:stop], started, seconds
    return offset


def _wanted_bytes(data: bytes, offset: int) -> int:
    """Return how many bytes the answer has that begins there and is not complete."""
    if len(data) - offset < wire.ANSWER.size:
        return wire.ANSWER.size
    _, _, output_bytes, extra_bytes, _, _ = wire.ANSWER.unpack_from(data, offset)
    return wire.ANSWER.size + int(output_bytes) + int(extra_bytes)


def _details(
    kind: int, extra: bytes, clean: Clean
) -> tuple[ScriptError | None, str | None, list[dict[str, Any]], str, StateChanges | None]:
    """Read the JSON part of an answer: error, warning, logs, the step that the output goes to, and
    changes of the state.
    """
    try:
        content = orjson.loads(extra)
        warning = content["warning"]
        return (
            None if kind in OUTPUTS else _error(kind, content["error"], clean),
            None if warning is None else clean(warning, wire.MAX_TEXT_LENGTH),
            [log_line(line, clean) for line in content["logs"][: wire.MAX_LOG_LINES + 1]],
            _step(content) if kind == wire.WENT else "",
            versioned(from_rows(content["state"])) if "state" in content else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ProtocolError from None


def _step(content: dict[str, Any]) -> str:
    step = content["step"]
    if type(step) is not str or not step:
        raise ValueError
    return step


def _error(kind: int, facts: dict[str, Any], clean: Clean) -> ScriptError:
    for name, value in facts.items():
        if value is None:
            continue
        if name in ("after", "limit_seconds"):
            facts[name] = max(0.0, float(value))
        elif name in _NUMBERS:
            facts[name] = max(0, min(value, _MAX_NUMBER))
        else:
            facts[name] = clean(value, wire.MAX_TEXT_LENGTH)
    return wire.ERRORS[kind](**facts)


def log_line(line: dict[str, Any], clean: Clean) -> dict[str, Any]:
    """Return a line of a log as it can be stored."""
    return {
        "at": max(0.0, min(line["at"], time.time())),
        "level": clean(line["level"], wire.MAX_LOG_LENGTH),
        "text": clean(line["text"], wire.MAX_LOG_LENGTH),
    }
