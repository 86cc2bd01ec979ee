"""Splits JavaScript into tokens, each with the column that the engine reports for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[#]?(?:[^\W\d]|\$)[\w$]*"
_TOKEN = re.compile(
    rf"""(?P<newline>\r\n?|\n|\u2028|\u2029)
    |(?P<blank>[^\S\r\n\u2028\u2029]+)
    |(?P<comment>//[^\r\n\u2028\u2029]*|/\*.*?\*/)
    |(?P<name>{_NAME})
    |(?P<number>\.?\d[\w.]*)
    |(?P<text>"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*')
    |(?P<sign>>>>=|\.\.\.|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|=>|==|!=|<=|>=|&&|\|\||\?\?
      |\?\.(?!\d)|\+\+|--|[-+*/%&|^]=|\*\*|<<|>>|.)""",
    re.DOTALL | re.VERBOSE,
)
_PATTERN = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\r\n])*\]|[^/\\\[\r\n])+/\w*")
_TEMPLATE = re.compile(r"(?:\\.|\$(?!\{)|[^`\\$])*(`|\$\{|$)", re.DOTALL)
_NEWLINE = re.compile(r"\r\n?|\n")
# Behind these a slash begins a regular expression.
_BEFORE_PATTERN = frozenset(
    {"return", "typeof", "case", "in", "of", "delete", "void", "do", "else", "throw", "new"}
    | {"instanceof", "await", "yield"}
)


@dataclass(slots=True)
class Token:
    kind: str  # name, number, text, template, pattern or sign
    text: str
    start: int
    line: int
    # In bytes: the real column, and the one that the engine reports, see Scanner.
    column: int
    engine_column: int
    is_first: bool  # of its line


class Scanner:
    """Reads code in the way the engine does, and keeps the columns that the engine reports.

    The engine keeps a column after blanks and at names. For signs and texts it reports the column
    that it kept last.
    """

    def __init__(self, code: str) -> None:
        self._code = code
        self._at = self._line_start = self._noted = 0
        self._line = 1
        self._is_first = True
        self._is_ascii = code.isascii()
        self.tokens: list[Token] = []
        # For each open brace: whether it belongs to a template.
        self._braces: list[bool] = []

    def scan(self) -> list[Token]:
        while self._at < len(self._code):
            self._step()
        return self.tokens

    def _step(self) -> None:
        found = _TOKEN.match(self._code, self._at)
        if found is None:
            self._at += 1
            return
        kind, text = str(found.lastgroup), found[0]
        if kind == "newline":
            self._go_to(found.end())
            self._new_line(found.end())
        elif kind in ("blank", "comment"):
            self._go_to(found.end())
            self._noted = self._at
        elif text == "`" or (text == "}" and self._braces and self._braces[-1]):
            if text == "}":
                self._braces.pop()
            rest = _TEMPLATE.match(self._code, self._at + 1)
            end = rest.end() if rest else len(self._code)
            self._add("template", end)
            if self._code.startswith("${", end - 2) and end - 2 > found.start():
                self._braces.append(True)
        elif text in ("/", "/=") and self._may_be_pattern():
            pattern = _PATTERN.match(self._code, self._at)
            self._add("pattern" if pattern else "sign", (pattern or found).end())
        else:
            if text == "{":
                self._braces.append(False)
            elif text == "}" and self._braces:
                self._braces.pop()
            if kind == "name" and text[0].isascii() and text[0] != "#":
                self._noted = self._at
            self._add(kind, found.end())

    def _may_be_pattern(self) -> bool:
        if not self.tokens:
            return True
        last = self.tokens[-1]
        if last.kind == "name":
            return last.text in _BEFORE_PATTERN
        return last.kind == "sign" and last.text not in (")", "]", "}", "++", "--")

    def _add(self, kind: str, end: int) -> None:
        start = self._at
        text = self._code[start:end]
        column = self._bytes(start) + 1
        noted = max(1, self._bytes(max(self._noted, self._line_start)) + 1)
        self.tokens.append(Token(kind, text, start, self._line, column, noted, self._is_first))
        self._is_first = False
        self._go_to(end)
        self._is_first = False

    def _go_to(self, end: int) -> None:
        for newline in _NEWLINE.finditer(self._code, self._at, end):
            self._new_line(newline.end())
        self._at = end

    def _new_line(self, start: int) -> None:
        if start > self._line_start:
            self._line += 1
            self._line_start = self._noted = start
            self._is_first = True

    def _bytes(self, offset: int) -> int:
        if self._is_ascii:
            return offset - self._line_start
        return len(self._code[self._line_start : offset].encode(errors="replace"))


def stray_brace(code: str) -> Token | None:
    """Return the first closing brace that closes nothing."""
    depth = 0
    for token in Scanner(code).scan():
        if token.kind == "sign":
            depth += (token.text == "{") - (token.text == "}")
            if depth < 0:
                return token
    return None


def characters(line: str, column: int) -> int:
    """Return the column in characters for one in bytes, as the engine counts."""
    if line.isascii():
        return column
    return len(line.encode(errors="replace")[: column - 1].decode(errors="ignore")) + 1
