"""Figures as text."""

from __future__ import annotations

from collections.abc import Sequence

from flows.benchmark.comparison import Change, flattened
from flows.benchmark.figures import Figures


def as_table(figures: Figures, found: Sequence[Change] = ()) -> str:
    """Return a line a figure; beside what it was earlier, where that is known."""
    by_name = {change.figure: change for change in found}
    rows = []
    for name, value in flattened(figures):
        change = by_name.get(name)
        rows.append((name, _text(value), *(_columns(change) if change else ())))
    return "\n".join(_lines(rows))


def _columns(change: Change) -> tuple[str, ...]:
    times = "" if change.times is None else f"times {change.times:.2f}"
    return f"earlier {change.earlier}", times, change.word


def _text(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    # The last text of a line needs no room behind it.
    widths = [
        max((len(row[n]) for row in rows if n + 1 < len(row)), default=0)
        for n in range(max(map(len, rows)))
    ]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
