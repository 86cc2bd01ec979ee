"""Finds the loop of JavaScript code that an interruption came in."""

from __future__ import annotations

import re

# Comments and texts, in which a word is none of the code.
_NO_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""", re.DOTALL
)
_TOKEN = re.compile(r"\b(?:while|for|do)\b|[{}]")


def loop_after(code: str, line: int, column: int) -> int | None:
    """Return the line of the next loop behind a place, within the block of that place."""
    lines = code.split("\n")
    first = sum(len(each) + 1 for each in lines[: line - 1])
    start, code = first + column - 1, _without_texts(code)
    if any(token[0] not in "{}" for token in _TOKEN.finditer(code, first, start)):
        # The place is in the head of a loop.
        return None
    depth = 0
    for token in _TOKEN.finditer(code, start):
        if token[0] not in "{}":
            return code.count("\n", 0, token.start()) + 1
        depth += 1 if token[0] == "{" else -1
        if depth < 0:
            return None
    return None


def _without_texts(code: str) -> str:
    return _NO_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), code)
