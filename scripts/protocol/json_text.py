"""JSON as text: how deep it is nested, and its parts as they are written, digit for digit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from scripts.protocol.json_layout import path_step

# The greatest depth of payloads. All parsers and writers on a payload's way go deeper.
MAX_DEPTH = 200
# Python reads and writes no integers with more digits.
MAX_DIGITS = 4300

# One without an end goes to that of the text, or each quote in it would be tried as a beginning.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_ALL_BUT_BRACKETS = re.compile(STRING + rb'|[^\[\]{}"]+', re.DOTALL)
_LONG_INTEGER = re.compile(STRING + rb"|(?<![\d.eE+])\d{%d,}" % (MAX_DIGITS + 1), re.DOTALL)
_PIECE = re.compile(rb"(" + STRING + rb")|([\[{])|([\]}])|(,)", re.DOTALL)
_STEPS = [1 if chr(byte) in "[{" else -1 if chr(byte) in "]}" else 0 for byte in range(256)]
_BLANKS = re.compile(r"[ \t\n\r]*")
_MAX_PLACE_LENGTH = 200

# Numbers stay texts, so that none is too long.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str)


def is_deeper_than(text: bytes, levels: int) -> bool:
    """Whether arrays and objects are nested deeper than this number of levels."""
    # Few texts have more brackets than that at all.
    return text.count(b"[") + text.count(b"{") > levels and depth_of(text) > levels


def depth_of(text: bytes) -> int:
    """Return the greatest number of arrays and objects that are open at once."""
    brackets = _ALL_BUT_BRACKETS.sub(b"", text)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def has_long_integer(text: bytes) -> bool:
    """Whether an integer has more digits than Python reads."""
    return any(match[0][:1] != b'"' for match in _LONG_INTEGER.finditer(text))


def place_deeper_than(text: bytes, levels: int, root: str = "$") -> str:
    """Return the path of the first value that is nested deeper, shortened in its middle."""
    path: list[Any] = []
    is_key = False
    for piece in _PIECE.finditer(text):
        string, opening, closing, comma = piece.groups()
        if string and is_key:
            path[-1], is_key = string, False
        elif opening:
            if len(path) == levels:
                break
            is_key = opening == b"{"
            path.append(b"" if is_key else 0)
        elif closing:
            path, is_key = path[:-1], False
        elif comma and path:
            is_key = not isinstance(path[-1], int)
            path[-1] = path[-1] + 1 if isinstance(path[-1], int) else b""
    return shortened(root + "".join(map(_path_step, path)))


def _path_step(step: int | bytes) -> str:
    if isinstance(step, int):
        return path_step(step)
    try:
        key = json.loads(step) if step else ""
    except ValueError:
        # The text is no JSON either.
        key = "…"
    return path_step(key)


def shortened(place: str) -> str:
    if len(place) <= _MAX_PLACE_LENGTH:
        return place
    half = _MAX_PLACE_LENGTH // 2
    return f"{place[:half]}…{place[-half:]}"


def items_of(text: str) -> list[tuple[str, Any]]:
    """Cut the text of a JSON array into the texts of its items, each with its value.

    Numbers in the values are texts. Raises ValueError where the text is no array, RecursionError
    where it is nested very deep.
    """
    return [(text[start:end], value) for start, end, value in _items(text)]


def _items(text: str) -> Iterator[tuple[int, int, Any]]:
    at = _after(text, 0, "[")
    if text[at : at + 1] == "]":
        return
    while True:
        value, end = _decoder.raw_decode(text, at)
        yield at, end, value
        at = _BLANKS.match(text, end).end()  # type: ignore[union-attr]
        if text[at : at + 1] == "]":
            return
        at = _after(text, at, ",")


def member_of(text: str, name: str) -> str:
    """Return the text of a member of a JSON object, the last of that name, as parsers do.

    Raises KeyError where there is none, ValueError where the text is no object, RecursionError
    where it is nested very deep.
    """
    found: str | None = None
    at = _after(text, 0, "{")
    while text[at : at + 1] != "}":
        key, end = _decoder.raw_decode(text, at)
        start = _after(text, end, ":")
        _, end = _decoder.raw_decode(text, start)
        if key == name:
            found = text[start:end]
        at = _BLANKS.match(text, end).end()  # type: ignore[union-attr]
        if text[at : at + 1] != "}":
            at = _after(text, at, ",")
    if found is None:
        raise KeyError(name)
    return found


def _after(text: str, at: int, mark: str) -> int:
    """Return the position of the next value behind a mark. Raises ValueError."""
    at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    if text[at : at + 1] != mark:
        raise ValueError(f"{mark!r} is missing at character {at}")
    return _BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
