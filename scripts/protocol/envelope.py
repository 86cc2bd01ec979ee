"""Messages as JSON text: read before a script runs, checked and written after it has run.

The script host uses these functions for every language. Only
`plain_text` are for the worker, too, which looks at what comes out of a host.
"""

import datetime
import decimal
import enum
import json
import math
import pickle
import re
import types
import uuid
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

import orjson

from scripts.protocol.errors import OutputInvalid
from scripts.protocol.json_text import MAX_DIGITS
from scripts.protocol.numerals import (
    Numerals,
    as_written,
    exact,
    is_as_written,
    is_written_by_orjson,
    loads,
    writing_of,
)

MAX_DEPTH = 1000
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
_MAX_PLACE_LENGTH = 200
# Pickle takes up to 2.25 times the bytes of JSON: nine for a float, which has four as in "0.5,".
_MOST_PICKLED = 3
# Of a message with a payload and a correlation id.
_LEAST_MESSAGE_BYTES = 32

_OPTIONS = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_only_finite = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
_quote = json.encoder.encode_basestring

_VERY_LONG_NUMBER = re.compile(rb"\d{309}")

_HINTS: dict[type, str] = {
    decimal.Decimal: "use str(), which keeps all digits, or float()",
    datetime.date: "use .isoformat()",
    datetime.time: "use .isoformat()",
    datetime.timedelta: "use .total_seconds()",
    set: "use a list",
    frozenset: "use a list",
    bytes: "decode it to a string",
    bytearray: "decode it to a string",
    types.GeneratorType: "use list()",
    types.CoroutineType: "run() must not be async",
}

# What both languages call the values of JSON.
_OF_JSON = {
    int: "a number",
    float: "a number",
    str: "a text",
    bool: "a boolean",
    list: "a list",
    type(None): "null",
}


def decode(body: bytes, numerals: Numerals | None = None) -> Any:
    """Read a message, so that `encode` writes its unchanged numbers as they were written.

    Their writing is added to `numerals`. Raises ValueError where the text is no JSON.
    """
    return _as_it_came(_strict(body), body, numerals)


def decode_output(text: bytes, numerals: Numerals) -> tuple[Any, bool]:
    """Read an output as `decode` does, and say whether `encode` writes it in exactly this text."""
    value = _strict(text)
    if is_written_by_orjson(text, value) and b"\\u0000" not in text:
        return value, True
    return _as_it_came(value, text, numerals), False


def _as_it_came(value: Any, body: bytes, numerals: Numerals | None) -> Any:
    if is_as_written(body, value):
        return value
    return loads(body, {} if numerals is None else numerals)


def decode_exactly(body: bytes) -> Any:
    """Read a message with the exact values of its numbers, for a JSON Schema."""
    value = _strict(body)
    return value if is_as_written(body, value) else exact(body)


def _strict(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "Not enough memory" in str(error):
            raise MemoryError from None
        # orjson refuses integers of more than 308 digits, JSON does not.
        if not _VERY_LONG_NUMBER.search(body):
            raise
        return json.loads(body)


def complete(output: Any, correlation_id: str) -> tuple[Any, str | None]:
    """Return a script's output as the next step's message, and a warning if it was corrected.

    A list has one message for each branch of the run. Raises OutputInvalid where the output is not
    a message of this run.
    """
    if not isinstance(output, list | tuple):
        return _complete_one(output, correlation_id, "$")
    if len(output) > MAX_OUTPUT_BYTES // _LEAST_MESSAGE_BYTES:
        raise OutputInvalid(
            f"The output has {len(output)} messages, which are too many.", place="$"
        )
    completed = [
        _complete_one(item, correlation_id, f"$[{index}]") for index, item in enumerate(output)
    ]
    warnings = [warning for _, warning in completed if warning]
    return [message for message, _ in completed], warnings[0] if warnings else None


def _complete_one(
    output: Any, correlation_id: str, place: str
) -> tuple[dict[str, Any], str | None]:
    if not isinstance(output, dict):
        raise OutputInvalid(_not_a_message(output, place), place=place)
    what = "The output" if place == "$" else place
    if "payload" not in output:
        raise OutputInvalid(f"{what} has no payload.", place=f"{place}.payload")
    if "correlationId" not in output:
        mended = {"correlationId": correlation_id, **output}
        return mended, "correlationId was missing and restored"
    given = output["correlationId"]
    # A subclass may claim to be equal to anything.
    if type(given) is not str or given != correlation_id:
        raise OutputInvalid(
            f"{what} has another correlationId: {_shown(given)}.",
            place=f"{place}.correlationId",
        )
    return output, None


def encode(
    value: Any,
    numerals: Numerals | None = None,
    most_bytes: int = MAX_OUTPUT_BYTES,
    *,
    takes_decimals: bool = False,
) -> bytes:
    """Write a value as JSON text. Raises OutputInvalid with the place of what JSON cannot hold.

    `takes_decimals`: each Decimal is a number with its digits.
    Numbers that `decode` has read are written as they came. What has far more than `most_bytes` is
    refused; the text may be somewhat longer.
    """
    require_small(value, most_bytes)
    text = _encode_fast(value, numerals)
    if text is None:
        text = _Writer(numerals, takes_decimals).write(value)
    check_size(text)
    return text


def require_small(value: Any, most_bytes: int) -> None:
    """Refuse a value that has more bytes as JSON, before any of it is written.

    Parts that a value holds many times take hardly any memory until they are written, and where the
    memory ends meanwhile, the process does, too. Raises OutputInvalid.
    """
    pickled = _pickled_size(value, _MOST_PICKLED * most_bytes)
    if pickled is not None and pickled <= most_bytes:
        return
    if pickled is not None and pickled > _MOST_PICKLED * most_bytes:
        raise _too_many(most_bytes)
    size, around = 0, [iter((value,))]
    while around:
        for each in around[-1]:
            if isinstance(each, str):
                size += len(each)
            elif isinstance(each, dict):
                # Two quotes, a colon, a character and a comma for each member.
                size += 5 * len(each)
                around.append(chain(each, each.values()))
                break
            elif isinstance(each, list | tuple):
                size += 2 * len(each)
                around.append(iter(each))
                break
        else:
            around.pop()
        if size > most_bytes:
            raise _too_many(most_bytes)
        if len(around) > MAX_DEPTH + 1:
            # The writer refuses it with its place.
            return


def _too_many(most_bytes: int) -> OutputInvalid:
    reason = f"has too many bytes as JSON; at most {most_bytes} are allowed."
    return OutputInvalid(f"$ {reason}", place="$")


def _pickled_size(value: Any, most_bytes: int) -> int | None:
    """Return how many bytes a value of usual types has, more than `most_bytes` where it has more.

    Pickle is the fastest way to measure it: it writes each part anew, and stops where it is told.
    JSON has at least a third as many, and up to six times where it has escapes. None for others.
    """
    file = _Bounded(most_bytes)
    meter = _Meter(file, 5)
    meter.fast = True
    try:
        meter.dump(value)
    except Exception:
        return file.size if file.size > most_bytes else None
    return file.size


class _Meter(pickle.Pickler):
    def reducer_override(self, value: Any) -> NoReturn:
        # Objects of a script may run code when they are pickled.
        raise TypeError(type(value))


class _Bounded:
    """A file that keeps nothing, and refuses more than `most_bytes`."""

    __slots__ = ("_most", "size")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.size = 0

    def write(self, content: bytes) -> int:
        self.size += len(content)
        if self.size > self._most:
            raise OverflowError
        return len(content)


def check_size(text: bytes) -> None:
    if len(text) > MAX_OUTPUT_BYTES:
        raise OutputInvalid(
            f"The output has {len(text)} bytes; at most {MAX_OUTPUT_BYTES} are allowed.", place="$"
        )


def plain_text(text: str, length: int) -> str:
    """Shorten a text and remove characters that a database or a JSON reader may refuse."""
    if len(text) > length:
        text = text[:length] + "…"
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def without_middle(text: str, length: int) -> str:
    """Shorten a text whose end says what is wrong with the value at its beginning."""
    half = length // 2
    return text if len(text) <= length else f"{text[: length - half - 1]}…{text[-half:]}"


def _encode_fast(value: Any, numerals: Numerals | None) -> bytes | None:
    """Write what orjson writes faithfully; None where a closer look is needed."""
    try:
        text = orjson.dumps(as_written(value, numerals) if numerals else value, option=_OPTIONS)
        if b"null" in text:
            # orjson writes NaN and the infinities as null.
            _only_finite(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return None if b"\\u0000" in text else text


def _not_a_message(output: Any, place: str) -> str:
    if output is None and place == "$":
        return "The output is None: does run() return the message?"
    kind = next((words for kind, words in _OF_JSON.items() if type(output) is kind), _named(output))
    hint = next((f" ({hint})" for kind, hint in _HINTS.items() if isinstance(output, kind)), "")
    if place == "$":
        return f"The output is {kind}{hint}; it must be an object with a payload."
    each = "each item of a list of messages must be an object with a payload"
    return f"{place} is {kind}{hint}; {each}."


def _shown(value: Any) -> str:
    """Return a wrong correlation id as text: a simple value itself, of other values the type."""
    if value is None or type(value) is str:
        return json.dumps(value)[:100]
    return _named(value)


def _named(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"


class _Container:
    """An array or an object that is being written."""

    __slots__ = ("end", "identity", "key", "members", "separator")

    def __init__(self, value: Any, members: Iterator[tuple[Any, Any]], end: str) -> None:
        self.identity = id(value)
        self.members = members
        self.end = end
        self.separator = ""
        self.key: Any = None


class _Writer:
    """Writes JSON without recursion and always knows where in the value it is."""

    def __init__(self, numerals: Numerals | None, takes_decimals: bool) -> None:
        self._numerals = numerals
        self._takes_decimals = takes_decimals
        self._text: list[str] = []
        self._open: list[_Container] = []
        self._identities: set[int] = set()

    def write(self, value: Any) -> bytes:
        self._write_value(value)
        while self._open:
            self._write_next_member(self._open[-1])
        return "".join(self._text).encode()

    def _write_next_member(self, container: _Container) -> None:
        member = next(container.members, None)
        if member is None:
            self._close(container)
            return
        container.key, value = member
        self._text.append(container.separator)
        container.separator = ","
        if container.end == "}":
            self._write_key(container.key)
        self._write_value(value)

    def _write_value(self, value: Any) -> None:
        if value is None or value is True or value is False:
            self._text.append({None: "null", True: "true", False: "false"}[value])
        elif isinstance(value, enum.Enum):
            self._write_value(value.value)
        elif isinstance(value, str):
            self._write_string(value)
        elif isinstance(value, int):
            self._write_integer(value)
        elif isinstance(value, float):
            self._write_float(value)
        elif isinstance(value, dict):
            self._begin(value, iter(value.items()), "{}")
        elif isinstance(value, list | tuple):
            self._begin(value, enumerate(value), "[]")
        elif isinstance(value, uuid.UUID):
            self._text.append(f'"{value}"')
        elif self._takes_decimals and isinstance(value, decimal.Decimal) and value.is_finite():
            self._text.append(decimal.Decimal.__str__(value))
        else:
            self._refuse_type(value)

    def _begin(self, value: Any, members: Iterator[tuple[Any, Any]], brackets: str) -> None:
        if id(value) in self._identities:
            self._refuse("contains itself")
        if len(self._open) >= MAX_DEPTH:
            self._refuse(f"is nested more than {MAX_DEPTH} deep")
        self._identities.add(id(value))
        self._open.append(_Container(value, members, brackets[1]))
        self._text.append(brackets[0])

    def _close(self, container: _Container) -> None:
        self._open.pop()
        self._identities.discard(container.identity)
        self._text.append(container.end)

    def _write_key(self, key: Any) -> None:
        if not isinstance(key, str):
            self._open[-1].key = None
            self._refuse(f"has the key {key!r} ({type(key).__name__}); keys must be strings")
        self._write_string(key)
        self._text.append(":")

    def _write_string(self, value: str) -> None:
        if "\x00" in value:
            self._refuse("holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            self._refuse("holds a lone surrogate, which is not a character")
        self._text.append(_quote(value))

    def _write_integer(self, value: int) -> None:
        try:
            self._text.append(writing_of(value, self._numerals) or int.__repr__(value))
        except ValueError:
            self._refuse(f"is an integer of more than {MAX_DIGITS} digits")

    def _write_float(self, value: float) -> None:
        if not math.isfinite(value):
            self._refuse(f"is {'NaN' if math.isnan(value) else 'infinite'}, which JSON cannot hold")
        self._text.append(writing_of(value, self._numerals) or float.__repr__(value))

    def _refuse_type(self, value: Any) -> NoReturn:
        hint = next((f"; {hint}" for kind, hint in _HINTS.items() if isinstance(value, kind)), "")
        self._refuse(f"is {_named(value)}, which JSON cannot hold{hint}")

    def _refuse(self, reason: str) -> NoReturn:
        place = shortened_place("$" + "".join(_path_step(container) for container in self._open))
        raise OutputInvalid(f"{place} {reason}.", place=place)


def _path_step(container: _Container) -> str:
    if container.key is None:
        return ""
    if container.end == "]":
        return f"[{container.key}]"
    key = str(container.key)
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key, ensure_ascii=False)}]"


def shortened_place(place: str) -> str:
    """Leave out the middle of a place that is too long for a message."""
    if len(place) <= _MAX_PLACE_LENGTH:
        return place
    half = _MAX_PLACE_LENGTH // 2
    return f"{place[:half]}…{place[-half:]}"
