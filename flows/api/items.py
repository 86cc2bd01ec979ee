"""The payloads of a batch, found in the pieces of its body as they come, each as its text."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from flows.api.errors import Problem

IN_STRING = re.compile(rb'["\\]')
OUTSIDE = re.compile(rb'["\[\]{},]')


@dataclass(frozen=True, slots=True)
class Item:
    """A payload as it came, with its line or its place in the array, from 1; or its fault.

    `problem_type` is that of the fault.
    """

    line: int
    raw: bytes
    fault: str = ""
    problem_type: str = "payload-invalid"


class PayloadParts:
    """The pieces of one payload. A payload that is too long is dropped."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._longest:
            self._parts.append(part)
        else:
            self._parts.clear()

    def take(self, line: int) -> Item:
        size, raw = self._size, b"".join(self._parts)
        self._size = 0
        self._parts.clear()
        if size > self._longest:
            fault = f"The payload may have at most {self._longest} bytes."
            return Item(line, b"", fault, "payload-too-large")
        return Item(line, raw)


def lines(chunks: Iterable[bytes], longest: int) -> Iterator[Item]:
    """Return the lines of NDJSON. Empty lines are left out, but counted."""
    line, gathered = 1, PayloadParts(longest)
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        gathered.add(first)
        for part in others:
            yield from _unless_blank(gathered.take(line))
            line += 1
            gathered.add(part)
    yield from _unless_blank(gathered.take(line))


def _unless_blank(item: Item) -> Iterator[Item]:
    if item.fault or item.raw.strip():
        yield item


def elements(chunks: Iterable[bytes], longest: int) -> Iterator[Item]:
    """Return the elements of a JSON array.

    Raises Problem where the body is not an array. If the array is broken later, the last item has
    the fault.
    """
    yield from Elements(longest).read(chunks)


class Elements:
    """Follows the brackets and strings of an array. Its elements are taken as they are written."""

    def __init__(self, longest: int) -> None:
        self._parts_read = PayloadParts(longest)
        self._line = 1
        self._depth = 0
        self._in_string = False
        self._has_ended = False
        # The first byte of the next piece, where a backslash stood at the end of this one.
        self._skip = 0

    def read(self, chunks: Iterable[bytes]) -> Iterator[Item]:
        for chunk in chunks:
            rest = yield from self._read(chunk)
            if self._has_ended and rest.strip():
                yield Item(self._line, b"", "There is more after the end of the array.")
                return
            if self._depth:
                self._parts_read.add(rest)
            elif rest.strip():
                raise _no_array()
        if self._depth:
            yield Item(self._line, b"", "The array does not end.")
        elif not self._has_ended:
            raise _no_array()

    def _read(self, chunk: bytes) -> Generator[Item, None, bytes]:
        """Return what is left of a piece after its last comma or bracket of the array."""
        position, begin = self._skip, 0
        while not self._has_ended:
            found = (IN_STRING if self._in_string else OUTSIDE).search(chunk, position)
            if found is None:
                break
            mark, position = found[0], found.end()
            if self._in_string:
                position += mark == b"\\"
                self._in_string = mark != b'"'
            elif self._depth == 0:
                self._begin(chunk[: found.start()], mark)
                begin = position
            elif self._depth == 1 and mark in b",]}":
                self._parts_read.add(chunk[begin : found.start()])
                yield from self._end_of_element(mark)
                begin = position
            else:
                self._in_string = mark == b'"'
                self._depth += (mark in b"[{") - (mark in b"]}")
        self._skip = max(position - len(chunk), 0)
        return chunk[begin:]

    def _begin(self, before: bytes, mark: bytes) -> None:
        if before.strip() or mark != b"[":
            raise _no_array()
        self._depth = 1

    def _end_of_element(self, mark: bytes) -> Iterator[Item]:
        item = self._parts_read.take(self._line)
        is_empty_array = mark == b"]" and self._line == 1 and not (item.raw.strip() or item.fault)
        if not is_empty_array:
            yield item
        self._line += 1
        if mark != b",":
            self._depth, self._has_ended = 0, True
        if mark == b"}":
            yield Item(self._line, b"", "The array does not end with a bracket.")


def _no_array() -> Problem:
    return Problem(
        "payload-invalid",
        "The body must be a JSON array in UTF-8, or lines of NDJSON as application/x-ndjson.",
    )
