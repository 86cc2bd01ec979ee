"""Counts of a flow's runs, and changes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Totals:
    """Runs of a flow, counted in all or as a change; each but the accepted ones has ended.

    `reopened` counts failed runs that go on or were cancelled, the others dead letters.
    """

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    reopened: int = 0
    letters_made: int = 0
    letters_decided: int = 0

    def __iter__(self) -> Iterator[int]:
        """Iterate over the numbers, in the order of the columns."""
        runs = (self.accepted, self.completed, self.failed, self.cancelled, self.reopened)
        return iter((*runs, self.letters_made, self.letters_decided))

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(mine + its for mine, its in zip(self, other, strict=True)))

    def __sub__(self, other: Totals) -> Totals:
        return Totals(*(mine - its for mine, its in zip(self, other, strict=True)))


# By the names of the flows.
FlowTotalsChanges = defaultdict[str, Totals]


def totals_by_flow() -> FlowTotalsChanges:
    """Return changes that are all zero."""
    return defaultdict(Totals)


def add_totals(totals: FlowTotalsChanges, others: Mapping[str, Totals]) -> None:
    """Add the other changes to the totals, in place."""
    for flow_name, change in others.items():
        totals[flow_name] += change
