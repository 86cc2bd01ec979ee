"""A process with its descendants, as /proc has them. Linux only; elsewhere it is alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    return [pid, *families(children_of(pid))]


def children_of(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, task.read_text().split())
        except OSError:
            continue
    return children


def families(pids: Iterable[int]) -> list[int]:
    return [member for pid in pids for member in family(pid)]
