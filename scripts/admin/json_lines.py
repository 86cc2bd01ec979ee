"""Finds the lines of a JSON text on which some of its values begin."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def lines_of(text: str, paths: Collection[str], root: str = "$") -> dict[str, int]:
    """Return the line, from 1, of each value with one of these paths: `$.payload.items[0].name`.

    `root` is the path of the whole value. A member begins at its name. Where the text is not JSON,
    or nested very deep, only the lines before that place are known.
    """
    walk = _Walk(text, paths)
    with contextlib.suppress(StopIteration, RecursionError, ValueError):
        walk.value(root, *next(walk.pieces))
    return walk.lines


class _Walk:
    def __init__(self, text: str, paths: Collection[str]) -> None:
        self.pieces = _pieces(text)
        self.lines: dict[str, int] = {}
        self._paths = paths
        # The paths of all values, written out, may be far longer than the text.
        self._longest = max(map(len, paths), default=0)

    def value(self, path: str, piece: str, line: int) -> None:
        if path in self._paths:
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
            self.value(self._below(path, f".{json.loads(piece)}"), member, line)

    def _items(self, path: str) -> None:
        index = 0
        for piece, line in self.pieces:
            if piece == "]":
                return
            if piece != ",":
                self.value(self._below(path, f"[{index}]"), piece, line)
                index += 1

    def _below(self, path: str, step: str) -> str:
        return path if len(path) > self._longest else path + step


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in _PIECE.finditer(text):
        if match[0] == "\n":
            line += 1
        else:
            yield match[0], line
