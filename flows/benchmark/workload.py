"""What a workload is given, and what is known of it before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flows.benchmark.figures import Figures
from flows.models.keep import Keep


@dataclass(frozen=True)
class Options:
    """How much a workload does; each looks at those that it names in `Workload`."""

    runs: int = 0
    keep: str = Keep.EVERYTHING


@dataclass(frozen=True)
class Workload:
    """A measurement, with the options that it has where the command gives none."""

    measure: Callable[[Options], Figures]
    runs: int = 0
