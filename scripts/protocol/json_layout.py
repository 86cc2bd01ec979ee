"""JSON text handled as text, so that no digit and no character of its content changes.

    indented      the text on several lines
    member        the text of an object's member
    with_member   an object with another text for it
    place_at      the path of what stands at a position

`member` and `with_member` are for text that is known to be JSON. None recurses.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import TypeAlias

import orjson

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*")
_INDENT = "  "
# The way to a value: the way to what it is in, and its step there; None for the whole. The paths of
# all values of a text, written out, may be far longer than the text.
Way: TypeAlias = "tuple[Way, str | int] | None"
# The depth that orjson reads. Each level indents its lines further: ten times this depth takes
# megabytes.
_MAX_DEPTH = 1024


def indented(text: str) -> str:
    """Write each value on a line of its own, with escaped characters unescaped where possible.

    Text that is no JSON, or is nested more than 1024 deep, is returned unchanged.
    """
    try:
        value = orjson.loads(text)
        written = orjson.dumps(value)
    except TypeError:
        # The value is nested deeper than orjson writes.
        written = b""
    except orjson.JSONDecodeError:
        if not _is_json(text):
            return text
        written = b""
    if written.decode() == text:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return "".join(_indented_pieces(text))


def _is_json(text: str) -> bool:
    """Whether the text is JSON with integers of more digits than orjson reads."""
    if _depth(text) > _MAX_DEPTH:
        return False
    try:
        json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return "\\ud" not in text.lower()


def _depth(text: str) -> int:
    steps = {"[": 1, "{": 1, "]": -1, "}": -1}
    return max(accumulate(steps.get(match[0], 0) for match in _TOKEN.finditer(text)), default=0)


def _indented_pieces(text: str) -> Iterator[str]:
    depth, before = 0, ""
    for match in _TOKEN.finditer(text):
        piece = match[0]
        is_end = piece in ("]", "}")
        if is_end:
            depth -= 1
        if before in ("[", "{", ",") if not is_end else before not in ("[", "{"):
            yield "\n" + _INDENT * depth
        if piece in ("[", "{"):
            depth += 1
        yield ": " if piece == ":" else _shown(piece)
        before = piece


def _shown(piece: str) -> str:
    if "\\u" not in piece:
        return piece
    shown = json.dumps(json.loads(piece), ensure_ascii=False)
    return shown if shown.isprintable() else piece


def member(text: str, name: str) -> str | None:
    """Return the text of an object's member, None where it has none."""
    span = _span(text, name)
    return text[span[0] : span[1]] if span else None


def with_member(text: str, name: str, value: str) -> str:
    """Return the text of an object with that value as its member, at the end if it is new."""
    if span := _span(text, name):
        return text[: span[0]] + value + text[span[1] :]
    before, _, after = text.rpartition("}")
    comma = "" if before.strip() == "{" else ","
    return f"{before}{comma}{json.dumps(name)}:{value}}}{after}"


def _span(text: str, name: str) -> tuple[int, int] | None:
    """Return where the value of a member begins and ends."""
    depth, begin, key = 0, -1, ""
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if depth == 1 and begin >= 0 and piece in (",", "}"):
            value = text[begin : match.start()]
            begin += len(value) - len(value.lstrip())
            return begin, begin + len(value.strip())
        if depth == 1 and begin < 0 and piece == ":" and json.loads(key) == name:
            begin = match.end()
        depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        key = piece
    return None


def place_at(text: str, position: int) -> str:
    """Return the path of the value at a position: `$.items[2].name`."""
    walk = _Walk()
    for match in _TOKEN.finditer(text):
        if match.start() > position:
            break
        walk.take(match[0])
    return walk.path()


class _Walk:
    """The position in a value, piece by piece."""

    def __init__(self) -> None:
        # The present step in each open array and object: None before the first key.
        self._steps: list[str | int | None] = []
        self._before = ""

    def take(self, piece: str) -> None:
        if piece in ("[", "{"):
            self._steps.append(None if piece == "{" else 0)
        elif self._steps:
            self._go_on(piece)
        self._before = piece

    def _go_on(self, piece: str) -> None:
        step = self._steps[-1]
        if piece in ("]", "}"):
            self._steps.pop()
        elif isinstance(step, int):
            self._steps[-1] = step + 1 if piece == "," else step
        elif self._before in ("{", ",") and piece[:1] == '"':
            # A string that ends too early is no key.
            with contextlib.suppress(ValueError):
                self._steps[-1] = json.loads(piece)

    def path(self) -> str:
        return "$" + "".join(path_step(step) for step in self._steps if step is not None)


def path_of(way: Way) -> str:
    """Return the path of the value that a way leads to: `$.items[2].name`."""
    steps = []
    while way is not None:
        way, step = way
        steps.append(path_step(step))
    return "$" + "".join(reversed(steps))


def path_step(step: str | int) -> str:
    """Return one more step of a path: `.name`, `[3]` or `["a name"]`.

    Any name can be written: half a character in a name is written as its escape.
    """
    if isinstance(step, int):
        return f"[{step}]"
    if _NAME.fullmatch(step):
        return f".{step}"
    quoted = json.dumps(step, ensure_ascii=False)
    return f"[{quoted.encode(errors='backslashreplace').decode()}]"
