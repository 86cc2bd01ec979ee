"""The decision of an operator to discard a dead letter."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Exists, OuterRef

from flows.errors import AlreadyReprocessed, QueueFull
from flows.models import DeadLetter, Run
from flows.models.quiet_end import note_quiet_ends
from flows.plan import flow_name_of, meeting_plan, step_plan
from flows.store import sql
from flows.store.counters import Counters
from flows.store.run_end import Gathered, RunEnd
from flows.store.telling import tell_ends
from flows.store.totals import Totals, add_totals, totals_by_flow
from flows.store.types import QueueCounters

if TYPE_CHECKING:
    from flows.models.dead_letter import DeadLetterQuerySet


def locked_run(run_id: UUID) -> Run:
    """Lock a run, so that what is decided about it at the same time comes before or after.

    The counters of queues are locked earlier, dead letters and totals later.
    """
    # Branches that end meanwhile refer to it, and are not kept waiting.
    return Run.objects.select_for_update(of=("self",), no_key=True).get(pk=run_id)


class Discarding:
    """Discards a dead letter, within a transaction that locks its run.

    A run is failed while a dead letter of it is open. When the last one has been decided, it goes
    on if a dead letter was requeued and has not died again, without the branches whose dead letter
    was discarded. If all were discarded, it stays failed. In which order, and what else of the run
    has ended by then, changes nothing.
    """

    def __init__(self, counters: Counters, letter: DeadLetter, user_id: Any) -> None:
        self.counters = counters
        self.database = counters.database
        self.letter = letter
        self.user_id = user_id
        self.now: datetime = counters.database.now()
        self.totals = totals_by_flow()

    def discard(self) -> None:
        """Go on without its message. Raises AlreadyReprocessed, and QueueFull where the run would
        go on at a join whose queue is full.
        """
        queues = self.counters.lock({step_plan(self.letter.step_id).meets_queue_id})
        run = locked_run(self.letter.run_id)
        self._decide()
        Run.objects.filter(pk=run.pk).update(branches=run.branches - 1)
        if self._goes_on(run):
            self._reopen(run)
        if run.branches == 1:
            self._end(run, queues)
        self.counters.add_to_totals(self.totals)

    def _decide(self) -> None:
        letters = DeadLetter.objects.open().filter(pk=self.letter.pk)
        if not letters.update(discarded_at=self.now, discarded_by=self.user_id):
            raise AlreadyReprocessed
        self.totals[step_plan(self.letter.step_id).site.flow].letters_decided += 1

    def _has_open_letters(self) -> bool:
        return DeadLetter.objects.open().filter(run=self.letter.run_id).exists()

    def _goes_on(self, run: Run) -> bool:
        """Whether all are decided, and a branch was requeued that has not died again."""
        if not self.letter.branch or self._has_open_letters():
            return False
        letters = self._letters_of_fan_out(run)
        later = letters.filter(branch=OuterRef("branch"), pk__gt=OuterRef("pk"))
        return letters.filter(~Exists(later), reprocessed_at__isnull=False).exists()

    def _letters_of_fan_out(self, run: Run) -> DeadLetterQuerySet:
        """Return the dead letters of branches that meet where this one would have met them."""
        letters = DeadLetter.objects.filter(run=run, branch__gt="")
        version, steps = run.flow_version_id, letters.order_by().values_list("step", flat=True)
        meets = meeting_plan(self.letter.step_id, version)
        return letters.filter(
            step__in=[s for s in steps.distinct() if meeting_plan(s, version) == meets]
        )

    def _end(self, run: Run, queues: dict[int, QueueCounters]) -> None:
        end = RunEnd(self.counters, queues, self.now)
        gathered = Gathered(run.pk, run.status, run.flow_version_id, self.letter.step_id)
        if not end.take_room(gathered):
            raise QueueFull("The queue where the branches of its run meet is full.", retry_after=1)
        end.reach(gathered)
        note_quiet_ends((UUID(each.run_id) for each in end.ended), self.now)
        tell_ends(end.ended, self.now)
        self.counters.add(queues)
        add_totals(self.totals, end.totals)

    def _reopen(self, run: Run) -> None:
        if run.status == Run.Status.FAILED:
            run.status = Run.Status.RUNNING
            self.database.each(sql.REOPEN_RUN, [{"id": run.pk.hex}])
            self.totals[flow_name_of(run.flow_version_id)] += Totals(failed=-1, reopened=1)
