"""What a worker measures of its deliveries, once they are committed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from flows.disposition import Decision, Disposition
from flows.monitoring.counters import CLAIMS, DELIVERIES, DURATIONS, LOST_LEASES, RESTARTS, named
from flows.monitoring.histogram import of_seconds
from flows.plan import step_plan
from flows.store import DeliveryResult
from flows.store.clock import machine_clock
from flows.tasks.measures import MeasureChannel, Measured, no_measures
from flows.worker.results import started_at
from scripts.protocol.calls import CallSite

SEND_SECONDS = 1.0

# What a step counts beside its durations.
# What waits for something has no event: it ends later.
EVENTS = {
    Disposition.ACCEPTED: "completed",
    Disposition.RETRY: "redelivered",
    Disposition.DEAD_LETTERED: "letters",
    Disposition.CANCELLED: "cancelled",
}
ACCEPTED = named(DELIVERIES, "accepted", "")


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
        by_step: defaultdict[int, list[DeliveryResult]] = defaultdict(list)
        for result in results:
            by_step[result.held.step_id].append(result)
        for step_id, ended in by_step.items():
            site = step_plan(step_id).site
            self._note_step(self.measures[site.flow, site.step], ended)
            if runs := ended_runs(ended, site.is_last):
                self._note_runs(self.measures[site.flow, ""], runs)

    def note_claimed(self, site: CallSite, messages: int) -> None:
        """Count messages that were taken to run a script on them."""
        if self.channel is not None:
            self.measures[site.flow, site.step].sums[CLAIMS] += messages

    def note_restarts(self, restarts: Mapping[tuple[CallSite, str], int]) -> None:
        """Count script hosts that had to be replaced, by step and reason."""
        if self.channel is not None:
            for (site, reason), count in restarts.items():
                self.measures[site.flow, site.step].sums[named(RESTARTS, reason)] += count

    def note_lost_lease(self) -> None:
        if self.channel is not None:
            self.measures["", ""].sums[LOST_LEASES] += 1

    def _note_step(self, measured: Measured, ended: list[DeliveryResult]) -> None:
        ran = [result for result in ended if result.ran]
        # A counter counts faster than a loop does.
        dispositions = Counter([each.decision.disposition for each in ran])
        for disposition, count in dispositions.items():
            if disposition in EVENTS:
                measured.events[EVENTS[disposition]] += count
        if accepted := dispositions[Disposition.ACCEPTED]:
            measured.sums[ACCEPTED] += accepted
        for decision in [each.decision for each in ended]:
            if decision.disposition is not Disposition.ACCEPTED:
                measured.sums[named(DELIVERIES, *_outcome_of(decision))] += 1
        _add_durations(measured, [each.finished_at - each.started_at for each in ran])

    def _note_runs(self, measured: Measured, ended: list[DeliveryResult]) -> None:
        now = machine_clock().epoch()
        _add_durations(measured, [now - each for each in started_at([e.held for e in ended])])

    def send_now_and_then(self) -> None:
        if self.measures and time.monotonic() >= self.sends_at:
            self.send()

    def send(self) -> None:
        """Hand over what was added up."""
        if self.channel is not None:
            self.channel.send(self.measures)
            self.sends_at = time.monotonic() + SEND_SECONDS


def _add_durations(measured: Measured, durations: list[float]) -> None:
    measured.durations.update(of_seconds(durations))
    # Clocks that were set make no sum smaller.
    measured.sums[DURATIONS] += max(sum(durations), 0.0)


def _outcome_of(decision: Decision) -> tuple[str, str]:
    """Return the disposition and its reason, both of few values."""
    if decision.disposition is Disposition.RETRY:
        reason = decision.outcome.value.lower()
    else:
        reason = decision.reason or ""
    return decision.disposition.name.lower(), str(reason)


def ended_runs(ended: list[DeliveryResult], is_last: bool) -> list[DeliveryResult]:
    """Return the deliveries of a step with which a run has ended, in a single branch."""
    return [
        each
        for each in ended
        if each.decision.disposition in (ENDS_AT_LAST_STEP if is_last or each.finishes else ENDS)
        and not each.is_branched
    ]


ENDS = frozenset({Disposition.DEAD_LETTERED})
ENDS_AT_LAST_STEP = ENDS | {Disposition.ACCEPTED}
