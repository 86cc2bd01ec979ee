"""Shows a place in code: the line, with carets below what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import CodeType

_MAX_LINE = 200


def pointed_at(file: str, line: str, number: int, column: int, headline: str) -> str:
    """Return a place where code does not compile, as Python shows one."""
    code = line.rstrip("\n")[:_MAX_LINE]
    indent = len(code) - len(code.lstrip())
    caret = " " * max(0, min(column - 1, len(code)) - indent) + "^"
    place = f'  File "{file}", line {number}, column {column}'
    return f"{place}\n    {code.strip()}\n    {caret}\n{headline}"


def shown_line(line: str, column: int) -> Iterator[str]:
    """Yield a line of a stack, and a caret below the column where that is seen."""
    shown = line.strip()[:_MAX_LINE]
    yield f"        {shown}"
    at = column - 1 - (len(line) - len(line.lstrip()))
    if 0 <= at < len(shown):
        yield f"        {' ' * at}^"


def carets(code: CodeType, instruction: int, line: str) -> str:
    """Return carets below the part of a line that an instruction is of; "" if that is all of it."""
    position = next(islice(code.co_positions(), instruction // 2, None), None)
    if position is None:
        return ""
    first, last, start, end = position
    if start is None or end is None or first != last:
        return ""
    # The columns are those of UTF-8.
    raw = line.encode()
    begin, stop = (len(raw[:at].decode(errors="replace")) for at in (start, end))
    indent = len(line) - len(line.lstrip())
    stripped = line.strip()[:_MAX_LINE]
    begin, stop = max(begin - indent, 0), min(stop - indent, len(stripped))
    if stop <= begin or stop - begin >= len(stripped):
        return ""
    return " " * begin + "^" * (stop - begin)
