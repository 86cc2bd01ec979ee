"""Finds names in JavaScript that a script does not have, by reading the code and compiling it.

The compiler itself says what a word is. Where the word stands in a text, the code compiles with
anything in its place; where it is read, with another value; where it is defined, with neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.host.languages.javascript_errors import MISSING

# Code, and what says whether such code compiles.
Source = tuple[str, Callable[[str], bool]]

_WORDS = {name: re.compile(rf"(?<![\w$.#]){name}(?![\w$])") for name in MISSING}
_WORDS["import"] = re.compile(r"(?<![\w$.#])import(?=\s*\()")
_ASKED = (
    r"\btypeof\s*\(?\s*{0}\b|\b(?:globalThis|self|window)\s*[?.[]+\s*['\"]?{0}\b"
    r"|['\"]{0}['\"]\s*in\b"
)
# What is asked for where code looks for a loader of modules: one that is there has the others.
_LOADER = ("require", "module", "exports", "define")
_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""", re.DOTALL
)
_BRACE = re.compile(r"\btry\s*\{|[{}]")
_NO_CODE, _VALUE = "@", "(0)"
# The characters that may be compiled: what is not found then is found when the script runs.
_MOST = 3_000_000


@dataclass(frozen=True, slots=True)
class MissingName:
    """A word of the code, from its place on."""

    name: str
    at: int


def missing_names(source: Source, libraries: Iterable[Source] = ()) -> list[MissingName]:
    """Return the first use of each name that neither the language nor the code has.

    A name that the code or a library defines or asks for is none, nor is a use within a `try`.
    """
    left = _MOST
    found = []
    for name, word in _WORDS.items():
        sources = [each for each in (source, *libraries) if word.search(each[0])]
        if not word.search(source[0]) or any(map(_asks_for(name), sources)):
            continue
        left -= sum(len(code) for code, _ in sources)
        if left < 0 or not all(compiles(word.sub(_VALUE, code)) for code, compiles in sources):
            continue
        code, compiles = source
        for use in word.finditer(code):
            left -= len(code)
            if left < 0:
                break
            if compiles(code[: use.start()] + _NO_CODE + code[use.end() :]):
                # It stands in a text.
                continue
            if not _is_tried(code, use.start()):
                found.append(MissingName(name, use.start()))
                break
    return sorted(found, key=lambda each: each.at)


def _asks_for(name: str) -> Callable[[Source], bool]:
    asked = re.compile("|".join(map(_ASKED.format, _LOADER if name in _LOADER else [name])))
    return lambda source: asked.search(source[0]) is not None


def _is_tried(code: str, at: int) -> bool:
    """Whether a `try` is open there: the code itself handles that the name is missing."""
    opened: list[bool] = []
    for brace in _BRACE.finditer(_TEXT.sub(" ", code[:at])):
        if brace[0] != "}":
            opened.append(brace[0] != "{")
        elif opened:
            opened.pop()
    return any(opened)
