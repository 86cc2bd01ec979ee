"""Figures beside earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.benchmark.figures import Figures

# A smaller difference says nothing.
SAME = 0.03
# Of the name of a figure, or of the one above it: what is better.
MORE = ("PerSecond",)
LESS = ("Ms", "Mb", "Percent")
MORE_BEGINS, LESS_BEGINS = "shareOf", "timesOf"
# Yardsticks and what surrounds a measurement.
NEITHER = ("bare", "ideal", "noise", "raw")


@dataclass(frozen=True, slots=True)
class Change:
    """A figure, what it was earlier, and how many times of that it is."""

    figure: str
    earlier: float
    now: float
    times: float | None
    word: str


def flattened(figures: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its name, which has those above it before points."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def outputs_in(document: Any) -> list[Figures]:
    """Return the figures in an earlier output, of one workload or of several.

    Raises ValueError where it is no output of the bench.
    """
    outputs: list[Figures] = document if isinstance(document, list) else [document]
    if not all(isinstance(each, dict) and "workload" in each for each in outputs):
        raise ValueError("it has no figures of manage.py bench")
    return outputs


def earlier_of(outputs: Sequence[Figures], figures: Figures) -> Figures | None:
    """Return those of the same workload and database."""
    key = (figures["workload"], figures["database"])
    return next((each for each in outputs if (each["workload"], each.get("database")) == key), None)


def changes(now: Figures, earlier: Figures) -> list[Change]:
    """Compare the figures that both have, where more or less is better."""
    before = dict(flattened(earlier))
    return [
        change_of(name, before[name], value)
        for name, value in flattened(now)
        if direction(name) and is_number(value) and is_number(before.get(name))
    ]


def change_of(name: str, earlier: float, now: float) -> Change:
    if not earlier:
        return Change(name, earlier, now, None, "same" if now == earlier else "")
    times = now / earlier
    gain = (times - 1) * direction(name)
    word = "same" if abs(times - 1) <= SAME else "better" if gain > 0 else "worse"
    return Change(name, earlier, now, round(times, 3), word)


def direction(name: str) -> int:
    """Return 1 where more is better, -1 where less is, 0 where neither is."""
    parts = name.split(".")
    if any(part.startswith(NEITHER) for part in parts):
        return 0
    for part in reversed(parts):
        if part.endswith(MORE) or part.startswith(MORE_BEGINS):
            return 1
        if part.endswith(LESS) or part.startswith(LESS_BEGINS):
            return -1
    return 0


def as_document(found: Sequence[Change]) -> dict[str, Any]:
    return {
        each.figure: {"earlier": each.earlier, "times": each.times, "word": each.word}
        for each in found
    }


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
