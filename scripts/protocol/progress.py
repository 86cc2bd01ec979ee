"""How far a script says that it is: checked, and in the memory that a host shares with its worker.

The host writes each value at once and the worker looks once a second. So a script may tell its
progress as often as it likes, and messages without progress cost nothing. A script can reach this
memory by tricks; what is read here is well-formed in any case.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsFloat

from scripts.protocol.envelope import plain_text
from scripts.protocol.errors import WrongArgument
from scripts.protocol.wire import (
    PROGRESS,
    PROGRESS_AT,
    PROGRESS_BYTES,
    PROGRESS_CALL,
    PROGRESS_WRITES,
)

MAX_TEXT_LENGTH = 500
_EXACT = 2**53
# How often a value is read again that changes meanwhile.
_READINGS = 5

_now = time.time


class Progress(NamedTuple):
    """So much is done of that total, None where it is not known. `at` is in epoch seconds."""

    done: float
    total: float | None
    text: str
    at: float

    def document(self, clean: Callable[[str, int], str]) -> dict[str, Any]:
        """Return it as it can be stored. `clean` masks secrets and bounds the text."""
        return {
            "done": _shown(self.done),
            "total": None if self.total is None else _shown(self.total),
            "text": clean(self.text, MAX_TEXT_LENGTH),
            "at": self.at,
        }


def checked(done: SupportsFloat, total: SupportsFloat | None, text: object) -> Progress:
    """Return the progress of now: where more is done than the total, that is the total.

    Raises WrongArgument for what are no numbers from 0 on.
    """
    number = _number("done", done)
    return Progress(
        number,
        None if total is None else max(number, _number("total", total)),
        plain_text(str(text), MAX_TEXT_LENGTH),
        _now(),
    )


class ProgressPage:
    """Writes the progress of calls into the shared memory, in turn to one of two places."""

    def __init__(self, shared: memoryview) -> None:
        self._shared = shared
        self._numbers = shared.cast("Q")

    def write(self, call: int, progress: Progress) -> None:
        numbers, text = self._numbers, progress.text.encode()
        writes = (numbers[PROGRESS_WRITES] + 1) % _EXACT
        start = _start(writes)
        total = math.nan if progress.total is None else progress.total
        PROGRESS.pack_into(self._shared, start, progress.done, total, progress.at, len(text))
        start += PROGRESS.size
        self._shared[start : start + len(text)] = text
        # It is there before it counts.
        numbers[PROGRESS_CALL] = call
        numbers[PROGRESS_WRITES] = writes


def progress_of(page: memoryview, call: int) -> Progress | None:
    """Return what a call has told last, as it is there; None where it has told nothing."""
    numbers = page.cast("Q")
    data = b""
    for _ in range(_READINGS):
        writes = numbers[PROGRESS_WRITES]
        if not call or numbers[PROGRESS_CALL] != call:
            return None
        start = _start(writes)
        data = bytes(page[start : start + PROGRESS_BYTES])
        if numbers[PROGRESS_WRITES] == writes:
            break
    return _read(data)


def _read(data: bytes) -> Progress | None:
    done, total, at, size = PROGRESS.unpack_from(data)
    clock = _now()
    if not _is_measure(done):
        return None
    return Progress(
        done,
        total if _is_measure(total) else None,
        data[PROGRESS.size : PROGRESS.size + size].decode(errors="replace"),
        at if 0 <= at <= clock else clock,
    )


def _start(writes: int) -> int:
    return PROGRESS_AT + writes % 2 * PROGRESS_BYTES


def _number(name: str, value: SupportsFloat) -> float:
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not _is_measure(number):
        raise WrongArgument(f"{name} must be a finite number from 0 on, not {repr(value)[:100]}")
    return number


def _is_measure(number: float) -> bool:
    return math.isfinite(number) and number >= 0


def _shown(number: float) -> float:
    return int(number) if number.is_integer() and number < _EXACT else number
