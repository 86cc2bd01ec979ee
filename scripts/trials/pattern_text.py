"""Makes a short text that a regular expression finds."""

from __future__ import annotations

import re

# Python's own reader of regular expressions; it has no other name.
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_LIKELY = "aA0 -_.1xZ9"
_CATEGORIES = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_MOST = 1000


def text_matching(pattern: str) -> str:
    """Return a text that the pattern finds, "" where none is known."""
    try:
        text = _of(parser.parse(pattern))
        return text if re.search(pattern, text) else ""
    except (re.error, ValueError, OverflowError, RecursionError, KeyError):
        return ""


def _of(parts: Any) -> str:
    return "".join(_one(str(what), given) for what, given in parts)


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
            return _of(given[2]) * min(int(given[0]), _MOST)
        case "SUBPATTERN":
            return _of(given[3])
        case "BRANCH":
            return _of(given[1][0])
    return ""


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
