"""The log of one call: its first and its last lines, and how many were between them.

A line is also written into the memory that the host shares with its worker, at the moment it is
said. So the worker has it whatever ends the host. The worker reads it in `pool/page_log.py`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from scripts.protocol.envelope import plain_text
from scripts.protocol.errors import WrongArgument
from scripts.protocol.wire import (
    KEPT_LOG_LINES,
    LOG_AT,
    LOG_BLOCK,
    LOG_BLOCK_BYTES,
    LOG_CALL,
    LOG_COUNT,
    LOG_LEVELS,
    LOG_LINE,
    LOG_SIZES,
    MAX_LOG_LENGTH,
    left_out,
)

_NUMBERS = {level: number for number, level in enumerate(LOG_LEVELS)}
# Names of other loggers for the same.
_SAME = {"warn": "warning", "err": "error", "fatal": "critical", "information": "info"}

_now = time.time


class Page(Protocol):
    """Where lines go at once."""

    def write(self, at: float, level: str, text: str) -> None: ...


class CallLog:
    """Collects the lines of a call."""

    __slots__ = ("_first", "_last", "_page", "count")

    def __init__(self, page: Page | None = None) -> None:
        self.count = 0
        self._page = page
        self._first: list[dict[str, Any]] = []
        self._last: deque[dict[str, Any]] = deque(maxlen=KEPT_LOG_LINES)

    def add(self, text: str, level: str, at: float | None = None) -> None:
        """Take a line of now, or of that epoch second."""
        at = _now() if at is None else at
        text = plain_text(text, MAX_LOG_LENGTH)
        if self._page is not None:
            self._page.write(at, level, text)
        self.count += 1
        (self._first if self.count <= KEPT_LOG_LINES else self._last).append(
            {"at": at, "level": level, "text": text}
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return what is kept, with a line that counts those between."""
        missing = self.count - len(self._first) - len(self._last)
        between = [left_out(missing, self._last[0]["at"])] if missing > 0 else []
        return [*self._first, *between, *self._last]


class LogPage:
    """Writes the lines of the running call into the shared memory.

    There are three blocks. The first one keeps the first lines; the others are filled in turn, and
    the older one is emptied for new lines. So the last lines are always there.
    """

    def __init__(self, shared: memoryview) -> None:
        self._shared = shared
        self._numbers = shared.cast("Q")
        self._call = 0

    def turn_to(self, call: int) -> None:
        """Write for another call. Costs nothing for a call that says nothing."""
        self._call = call

    def write(self, at: float, level: str, text: str) -> None:
        numbers, said = self._numbers, text.encode()
        if numbers[LOG_CALL] != self._call:
            self._begin()
        size = LOG_LINE.size + len(said)
        block = self._block_for(size)
        used = numbers[LOG_SIZES + block]
        start = LOG_AT + block * LOG_BLOCK_BYTES + used
        LOG_LINE.pack_into(self._shared, start, at, _NUMBERS[level], len(said))
        self._shared[start + LOG_LINE.size : start + size] = said
        # The line is there before it counts.
        numbers[LOG_SIZES + block] = used + size
        numbers[LOG_COUNT] += 1

    def _begin(self) -> None:
        numbers = self._numbers
        for word in (LOG_CALL, LOG_COUNT, LOG_BLOCK, LOG_SIZES, LOG_SIZES + 1, LOG_SIZES + 2):
            numbers[word] = 0
        numbers[LOG_CALL] = self._call

    def _block_for(self, size: int) -> int:
        numbers = self._numbers
        block = numbers[LOG_BLOCK]
        is_full = numbers[LOG_SIZES + block] + size > LOG_BLOCK_BYTES
        if not is_full and (block or numbers[LOG_COUNT] < KEPT_LOG_LINES):
            return block
        if not block or is_full:
            block = 2 if block == 1 else 1
            numbers[LOG_SIZES + block] = 0
            numbers[LOG_BLOCK] = block
        return block


def level_named(level: Any) -> str | None:
    """Return the name of a level in any of its writings, None where it is none."""
    if not isinstance(level, str):
        return None
    name = level.strip().lower()
    name = _SAME.get(name, name)
    return name if name in _NUMBERS else None


def required_level(level: Any) -> str:
    """Return the name of a level. Raises ValueError, with all names."""
    name = level_named(level)
    if name is None:
        shown = repr(level)[:100]
        raise WrongArgument(
            f"there is no log level {shown}; the levels are {', '.join(LOG_LEVELS)}"
        )
    return name
