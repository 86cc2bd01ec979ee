"""Makes a short text that a regular expression finds."""

from __future__ import annotations

import re

# Python's own reader of regular expressions; it has no other name.
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from scripts.protocol.schema import SchemaInvalid, compile_pattern, matches

_LIKELY = "aA0 -_.1xZ9"
_CATEGORIES = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_LONGEST = 10_000


class _TooLong(ValueError):
    """A text is longer than an example should be."""


def text_matching(pattern: str) -> str:
    """Return a text that the pattern finds, "" where none is known.

    It takes bounded time and memory: the pattern is an author's, and may be searched for ever.
    """
    try:
        text = _of(parser.parse(pattern))
        return text if matches(compile_pattern(pattern), text) else ""
    except (re.error, ValueError, OverflowError, RecursionError, KeyError, SchemaInvalid):
        return ""


def _of(parts: Any) -> str:
    text = ""
    for what, given in parts:
        text += _one(str(what), given)
        if len(text) > _LONGEST:
            raise _TooLong
    return text


def _one(what: str, given: Any) -> str:
    match what:
        case "LITERAL":
            return chr(given)
        case "NOT_LITERAL":
            return next(each for each in _LIKELY if ord(each) != given)
        case "ANY":
            return "a"
        case "IN":
            return _of_set(given)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _repeated(_of(given[2]), int(given[0]))
        case "SUBPATTERN":
            return _of(given[3])
        case "BRANCH":
            return _of(given[1][0])
    return ""


def _repeated(text: str, times: int) -> str:
    if len(text) * times > _LONGEST:
        raise _TooLong
    return text * times


def _of_set(given: Any) -> str:
    kinds = [(str(what), value) for what, value in given]
    if kinds[0][0] == "NEGATE":
        return next((each for each in _LIKELY if not any(_has(k, each) for k in kinds[1:])), "é")
    what, value = kinds[0]
    if what == "RANGE":
        return chr(value[0])
    return chr(value) if what == "LITERAL" else _CATEGORIES.get(str(value), "-")


def _has(kind: tuple[str, Any], character: str) -> bool:
    what, value = kind
    if what == "RANGE":
        return bool(value[0] <= ord(character) <= value[1])
    if what == "LITERAL":
        return bool(value == ord(character))
    checks = {
        "CATEGORY_DIGIT": character.isdigit(),
        "CATEGORY_WORD": character.isalnum() or character == "_",
        "CATEGORY_SPACE": character.isspace(),
    }
    return checks.get(str(value), True)
