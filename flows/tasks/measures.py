"""What workers measure, on its way to the broker of their cluster, which stores it.

A worker adds up in memory and sends a packet now and then, so that the hot path writes nothing for
it. What a worker has not sent, or the broker not stored, when it is killed is lost: that of a
second, or of five.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import orjson

from flows.monitoring.histogram import Histogram
from flows.tasks.queue import PacketChannel


@dataclass(slots=True)
class Measured:
    """What happened at a step, or to the runs of a flow: events, and how long they took.

    `sums` are for metrics alone: they have no curve.
    """

    events: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    durations: Histogram = field(default_factory=Histogram)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(int))

    def add(self, other: Measured) -> None:
        for event, count in other.events.items():
            self.events[event] += count
        self.durations.update(other.durations)
        for name, amount in other.sums.items():
            self.sums[name] += amount


# By the names of the flow and of the step; the runs of a flow have "" for a step, and what belongs
# to no flow has "" for both.
Measures = defaultdict[tuple[str, str], Measured]


def no_measures() -> Measures:
    return defaultdict(Measured)


class MeasureChannel(PacketChannel):
    """Carries measures from any number of workers to one broker, and outlives both."""

    def send(self, measures: Measures) -> None:
        """Send and forget what fits; the rest is sent with what comes later."""
        for key in list(measures):
            if self.post(packet_of(key, measures[key])):
                del measures[key]

    def receive(self, measures: Measures) -> None:
        """Add what has been sent."""
        for packet in self.packets():
            key, measured = measured_of(packet)
            measures[key].add(measured)


def packet_of(key: tuple[str, str], measured: Measured) -> bytes:
    buckets = list(measured.durations.items())
    return orjson.dumps([*key, dict(measured.events), buckets, dict(measured.sums)])


def measured_of(packet: bytes) -> tuple[tuple[str, str], Measured]:
    flow, step, events, buckets, sums = orjson.loads(packet)
    measured = Measured()
    measured.add(Measured(events, Histogram(dict(map(tuple, buckets))), sums))
    return (flow, step), measured
