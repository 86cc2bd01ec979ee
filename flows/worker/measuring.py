"""What a worker measures of its deliveries, once they are committed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from flows.disposition import Disposition
from flows.monitoring.histogram import bucket_of
from flows.plan import step_plan
from flows.store import DeliveryResult
from flows.store.clock import machine_clock
from flows.tasks.measures import MeasureChannel, Measured, no_measures
from flows.worker.results import started_at

SEND_SECONDS = 1.0

# What a step counts beside its durations.
EVENTS = {
    Disposition.ACCEPTED: "completed",
    Disposition.RETRY: "redelivered",
    Disposition.DEAD_LETTERED: "letters",
    Disposition.CANCELLED: "cancelled",
}


class Measuring:
    """Adds up for a process of a cluster. Without a channel, in any other process, it does nothing.

    The time of a run is that from its start to its end, with all waiting. A run that ends in
    several branches has none.
    """

    def __init__(self, channel: MeasureChannel | None = None) -> None:
        self.channel = channel
        self.measures = no_measures()
        self.sends_at = 0.0

    def note(self, results: Sequence[DeliveryResult]) -> None:
        """Take the deliveries of a commit that has been made."""
        if self.channel is None or not results:
            return
        epoch = machine_clock().epoch()
        by_step: defaultdict[int, list[DeliveryResult]] = defaultdict(list)
        for result in results:
            by_step[result.held.step_id].append(result)
        for step_id, ended in by_step.items():
            site = step_plan(step_id).site
            self._note_step(self.measures[site.flow, site.step], ended)
            self._note_runs(self.measures[site.flow, ""], ended, site.is_last, epoch)

    def _note_step(self, measured: Measured, ended: list[DeliveryResult]) -> None:
        durations = measured.durations
        for result in ended:
            if result.ran:
                measured.events[EVENTS[result.decision.disposition]] += 1
                durations[bucket_of(result.finished_at - result.started_at)] += 1

    def _note_runs(
        self, measured: Measured, ended: list[DeliveryResult], is_last: bool, epoch: float
    ) -> None:
        for result in ended:
            disposition = result.decision.disposition
            is_end = disposition is Disposition.DEAD_LETTERED or (
                is_last and disposition is Disposition.ACCEPTED
            )
            if is_end and not result.is_branched:
                measured.durations[bucket_of(epoch - started_at(result.held))] += 1

    def send_now_and_then(self) -> None:
        if self.measures and time.monotonic() >= self.sends_at:
            self.send()

    def send(self) -> None:
        """Hand over what was added up."""
        if self.channel is not None:
            self.channel.send(self.measures)
            self.sends_at = time.monotonic() + SEND_SECONDS
