"""Requeue dead letters: one that an operator chose, or many of a bulk reprocessing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from uuid_utils.compat import uuid7

from flows.errors import FlowNotRunnable
from flows.models import DeadLetter, Run, StepVersion
from flows.plan import flow_name_of, step_plan
from flows.store import sql
from flows.store.counters import Counters
from flows.store.database import sql_time
from flows.store.rows import start_row
from flows.store.totals import Totals, totals_by_flow
from flows.store.types import NewRun


@dataclass(frozen=True, slots=True)
class Requeue:
    """A dead letter, and the step at which a message is to wait in its place.

    Raises FlowNotRunnable where the queue of the step no longer exists.
    """

    letter: DeadLetter
    step: StepVersion
    body: str
    # The run has the flow version of the step from now on.
    follows: bool = False

    def __post_init__(self) -> None:
        if self.step.queue_id is None:
            raise FlowNotRunnable(f"The queue {self.step.queue_name!r} no longer exists.")

    @property
    def queue_id(self) -> int:
        return cast("int", self.step.queue_id)


@dataclass(frozen=True, slots=True)
class Requeued:
    """The letters that were requeued, and the first that was not since its queue is full.

    Letters behind that one were left alone. The others were decided about elsewhere.
    """

    ids: frozenset[int]
    full: Requeue | None = None


class Requeueing:
    """Requeues dead letters within a transaction.

    It locks in the order of the store: the counters of queues, runs, dead letters, totals.
    """

    def __init__(self, counters: Counters, user_id: Any) -> None:
        self.counters = counters
        self.database = counters.database
        self.user_id = user_id
        self.now = counters.database.now()
        self.totals = totals_by_flow()
        self.full: Requeue | None = None

    def requeue(self, orders: Sequence[Requeue]) -> Requeued:
        """Requeue in order, up to the first whose queue has no room."""
        queues = self.counters.lock({order.queue_id for order in orders})
        runs = _locked_runs({order.letter.run_id for order in orders})
        is_open = _locked_open_letters([order.letter.pk for order in orders])
        taken = []
        for order in orders:
            queue = queues.get(order.queue_id)
            if order.letter.pk not in is_open:
                continue
            if queue is None or not queue.room:
                self.full = order
                break
            queue.depth_change += 1
            taken.append(order)
        if taken:
            self._store(taken, runs)
            self.counters.add(queues)
            self.counters.add_to_totals(self.totals)
            self.database.wake()
        return Requeued(frozenset(order.letter.pk for order in taken), self.full)

    def _store(self, taken: Sequence[Requeue], runs: dict[UUID, Run]) -> None:
        letters = DeadLetter.objects.filter(pk__in=[order.letter.pk for order in taken])
        letters.update(reprocessed_at=self.now, reprocessed_by=self.user_id)
        self.database.each(sql.INSERT_MESSAGE, [self._row(order) for order in taken])
        for order in taken:
            self.totals[step_plan(order.letter.step_id).site.flow].letters_decided += 1
        self._follow([order for order in taken if order.follows], runs)
        self._reopen([runs[id] for id in {order.letter.run_id for order in taken}])

    def _row(self, order: Requeue) -> dict[str, object]:
        letter, version = order.letter, order.step.flow_version
        message = NewRun(
            letter.run_id,
            version.flow_name,
            version.pk,
            order.step.pk,
            order.queue_id,
            order.body,
            branch=letter.branch,
        )
        # A branch may have died before: its message needs an id of its own.
        return start_row(message, sql_time(self.now), uuid7() if letter.branch else letter.run_id)

    def _follow(self, orders: Sequence[Requeue], runs: dict[UUID, Run]) -> None:
        """Give runs another version of their flow, which may have been renamed meanwhile."""
        followers: dict[int, list[UUID]] = {}
        for order in orders:
            run, version_id = runs[order.letter.run_id], order.step.flow_version_id
            if run.flow_version_id == version_id:
                continue
            moved = Totals(accepted=1, failed=int(run.status == Run.Status.FAILED))
            self.totals[flow_name_of(run.flow_version_id)] -= moved
            self.totals[flow_name_of(version_id)] += moved
            run.flow_version_id = version_id
            followers.setdefault(version_id, []).append(run.pk)
        for version_id, ids in followers.items():
            Run.objects.filter(pk__in=ids).update(flow_version=version_id)

    def _reopen(self, runs: Sequence[Run]) -> None:
        """Let the runs go on whose last open letter was requeued."""
        failed = [run for run in runs if run.status == Run.Status.FAILED]
        letters = DeadLetter.objects.open().filter(run__in=failed)
        waiting = set(letters.values_list("run", flat=True))
        reopened = [run for run in failed if run.pk not in waiting]
        self.database.each(sql.REOPEN_RUN, [{"id": run.pk.hex} for run in reopened])
        for run in reopened:
            self.totals[flow_name_of(run.flow_version_id)] += Totals(failed=-1, reopened=1)


def _locked_runs(ids: Collection[UUID]) -> dict[UUID, Run]:
    # Branches that end meanwhile refer to them, and are not kept waiting.
    locked = Run.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=ids)
    runs = locked.only("status", "flow_version_id").order_by("pk")
    return {run.pk: run for run in runs}


def _locked_open_letters(ids: Sequence[int]) -> set[int]:
    # Found by the primary key: the index of those that are open does not begin with it.
    letters = DeadLetter.objects.filter(pk__in=ids).select_for_update(of=("self",)).order_by("pk")
    decided = letters.values_list("pk", "reprocessed_at", "discarded_at")
    return {pk for pk, reprocessed, discarded in decided if not (reprocessed or discarded)}
