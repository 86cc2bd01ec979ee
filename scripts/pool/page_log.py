"""The log lines that a host has left in the memory it shares with its worker.

The worker reads them where a call gives no answer, and while a long one runs. A script can reach
this memory by tricks and write anything into it; what comes out here is well-formed in any case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from scripts.protocol import wire


def log_lines(page: memoryview, call: int) -> list[dict[str, Any]]:
    """Return what a call has said so far: the first and the last lines, and those left out."""
    numbers = page.cast("Q")
    if not call or numbers[wire.LOG_CALL] != call:
        return []
    count, block = numbers[wire.LOG_COUNT], numbers[wire.LOG_BLOCK]
    first, *others = (_block(page, index, numbers[wire.LOG_SIZES + index]) for index in range(3))
    # The older block comes first.
    older, newer = others if block == 2 else reversed(others)
    last = [*older, *newer][-wire.KEPT_LOG_LINES :]
    first = first[: wire.KEPT_LOG_LINES]
    missing = min(count, 2**53) - len(first) - len(last)
    between = [wire.left_out(missing, last[0]["at"])] if missing > 0 and last else []
    return [*first, *between, *last]


def _block(page: memoryview, index: int, size: int) -> list[dict[str, Any]]:
    start = wire.LOG_AT + index * wire.LOG_BLOCK_BYTES
    return list(_lines(bytes(page[start : start + min(size, wire.LOG_BLOCK_BYTES)])))


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    offset, head = 0, wire.LOG_LINE
    while offset + head.size <= len(data):
        at, level, size = head.unpack_from(data, offset)
        offset += head.size
        if offset + size > len(data):
            return
        yield {
            "at": at if 0 <= at <= time.time() else time.time(),
            "level": wire.LOG_LEVELS[min(level, len(wire.LOG_LEVELS) - 1)],
            "text": data[offset : offset + size].decode(errors="replace"),
        }
        offset += size
