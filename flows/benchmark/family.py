"""A process with its descendants, as /proc has them. Linux only; elsewhere it is alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, task.read_text().split())
        except OSError:
            continue
    return [pid, *(member for child in children for member in family(child))]


def families(pids: Iterable[int]) -> list[int]:
    return [member for pid in pids for member in family(pid)]
