"""The thresholds of the rules: the engine's own, and those that the configuration sets instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from flows.models.alert_thresholds import AlertThresholds, set_thresholds


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of the rules, where nothing else is set. `AlertThresholds` says what each means.

    Shares are in percent, as they are entered.
    """

    queue_full: float = 90.0
    standing_still: timedelta = timedelta(minutes=3)
    oldest_age: timedelta | None = None
    new_letters: int = 1
    failed_runs: int = 5
    failed_share: float = 2.0
    failed_factor: float = 2.0
    critical_share: float = 50.0
    workers_gone: timedelta = timedelta(seconds=15)


DEFAULT = Thresholds()


class ThresholdsInForce:
    """Those of the installation, of each flow and of each queue, by their names."""

    def __init__(self, rows: Iterable[AlertThresholds]) -> None:
        by_place = {_place(row): set_thresholds(row) for row in rows}
        self.installation = replace(DEFAULT, **by_place.pop(("", ""), {}))
        self._set = by_place

    @classmethod
    def read(cls) -> ThresholdsInForce:
        return cls(AlertThresholds.objects.select_related("flow", "queue"))

    def of_flow(self, flow: str) -> Thresholds:
        return self._with(self.installation, (flow, ""))

    def of_queue(self, queue: str, flow: str) -> Thresholds:
        """Return those of a queue, and of the flow that it belongs to, "" where it has none."""
        return self._with(self.of_flow(flow) if flow else self.installation, ("", queue))

    def _with(self, base: Thresholds, place: tuple[str, str]) -> Thresholds:
        found: dict[str, Any] | None = self._set.get(place)
        return replace(base, **found) if found else base


def _place(row: AlertThresholds) -> tuple[str, str]:
    return (row.flow.name if row.flow else "", row.queue.name if row.queue else "")
