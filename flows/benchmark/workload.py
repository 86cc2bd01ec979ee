"""What a workload is given, and what is known of it before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flows.benchmark.figures import Figures
from flows.models.keep import Keep

BOTH = frozenset({"postgresql", "sqlite"})


@dataclass(frozen=True)
class Options:
    """How much a workload does. Each looks at those that it has in `Workload`.

    `seconds` is the length of each measurement of a round, or of the whole one without rounds.
    """

    runs: int = 0
    seconds: float = 0.0
    rounds: int = 1
    keep: str = Keep.EVERYTHING
    language: str = "python"


@dataclass(frozen=True)
class Workload:
    """A measurement, with the options that it has where the command gives none; 0: it has none."""

    measure: Callable[[Options], Figures]
    runs: int = 0
    seconds: float = 0.0
    rounds: int = 0
    databases: frozenset[str] = BOTH

    def options(
        self,
        runs: int | None,
        seconds: float | None,
        rounds: int | None,
        keep: str | None,
        language: str | None,
    ) -> Options:
        return Options(
            self.runs if runs is None else runs,
            self.seconds if seconds is None else seconds,
            self.rounds if rounds is None else rounds,
            keep or Keep.EVERYTHING,
            language or "python",
        )
