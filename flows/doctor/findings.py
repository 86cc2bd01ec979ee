"""One thing that was examined: its name, its state, what was seen, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`error`: something does not work, or will be lost. `warning`: it may come to that."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` is empty where all is well."""

    name: str
    state: State
    seen: str
    advice: str = ""


def ok(name: str, seen: str) -> Finding:
    return Finding(name, State.OK, seen)


def warning(name: str, seen: str, advice: str) -> Finding:
    return Finding(name, State.WARNING, seen, advice)


def error(name: str, seen: str, advice: str) -> Finding:
    return Finding(name, State.ERROR, seen, advice)


def graded(
    name: str, value: float, warn_from: float, error_from: float, seen: str, advice: str
) -> Finding:
    """Return a finding of a value that is bad where it is high."""
    if value >= error_from:
        return error(name, seen, advice)
    return warning(name, seen, advice) if value >= warn_from else ok(name, seen)


def worst(findings: Iterable[Finding]) -> State:
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.OK)


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
