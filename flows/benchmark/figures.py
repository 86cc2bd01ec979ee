"""The arithmetic of figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

# What a workload has measured, by name; a value may be such a mapping itself.
Figures = dict[str, Any]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed, by the nearest rank."""
    ordered = sorted(values)
    return ordered[max(int(len(ordered) * share) - 1, 0)]


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(milliseconds), 1),
        "p95": round(percentile(milliseconds, 0.95), 1),
    }


def median_share(parts: Sequence[float], wholes: Sequence[float]) -> float:
    """Return the median of the shares that were measured in turn, in rounds of one of each."""
    shares = [share(part, whole) for part, whole in zip(parts, wholes, strict=True)]
    return round(statistics.median(shares), 3)


def share(part: float, whole: float) -> float:
    """Return how much of the whole the part is, 1.0 for all of it."""
    return round(part / whole, 3) if whole else 0.0
