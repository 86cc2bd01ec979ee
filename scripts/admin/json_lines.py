"""Finds the line of a JSON text on which each of its values begins."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def lines_of(text: str, root: str = "$") -> dict[str, int]:
    """Return the line, from 1, of every value by its path: `$.payload.items[0].name`.

    `root` is the path of the whole value. A member begins at its name. Where the text is not JSON,
    or nested very deep, only the lines before that place are known.
    """
    walk = _Walk(text)
    with contextlib.suppress(StopIteration, RecursionError, ValueError):
        walk.value(root, *next(walk.pieces))
    return walk.lines


class _Walk:
    def __init__(self, text: str) -> None:
        self.pieces = _pieces(text)
        self.lines: dict[str, int] = {}

    def value(self, path: str, piece: str, line: int) -> None:
        self.lines[path] = line
        if piece == "{":
            self._members(path)
        elif piece == "[":
            self._items(path)

    def _members(self, path: str) -> None:
        for piece, line in self.pieces:
            if piece == "}":
                return
            if piece == ",":
                continue
            next(self.pieces)  # the colon
            member, _ = next(self.pieces)
            self.value(f"{path}.{json.loads(piece)}", member, line)

    def _items(self, path: str) -> None:
        index = 0
        for piece, line in self.pieces:
            if piece == "]":
                return
            if piece != ",":
                self.value(f"{path}[{index}]", piece, line)
                index += 1


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in _PIECE.finditer(text):
        if match[0] == "\n":
            line += 1
        else:
            yield match[0], line
