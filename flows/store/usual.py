"""Deliveries that end as nearly all do, stored by the step and not one by one.

The output of such a delivery goes on as one message, or is the result of its run. Beside that, only
its attempt is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from flows.disposition import ACCEPTED, Disposition
from flows.plan import StepPlan, step_plan
from flows.store import sql
from flows.store.database import Columns, Database, sql_time_of_epoch
from flows.store.kept import KEPT, beginning
from flows.store.types import DeliveryResult


@dataclass(slots=True)
class Usual:
    """The usual deliveries of one step, with the columns of their attempts."""

    plan: StepPlan
    results: list[DeliveryResult]
    attempts: Columns


@dataclass(slots=True)
class Sorted:
    """What a commit is to store: the usual deliveries, and those that are looked at one by one."""

    results: Sequence[DeliveryResult]
    usual: list[Usual]
    others: list[DeliveryResult]

    @classmethod
    def of(cls, results: Sequence[DeliveryResult]) -> Sorted:
        by_step: dict[int, list[DeliveryResult]] = {}
        others = []
        for each in results:
            if is_usual(each):
                by_step.setdefault(each.held.step_id, []).append(each)
            else:
                others.append(each)
        # Read once: Django's settings are slow.
        most = settings.ASYNCENGINE_MAX_KEPT_BYTES
        usual = []
        for step_id, found in by_step.items():
            plan = step_plan(step_id)
            usual.append(Usual(plan, found, attempts_of(plan, found, most)))
        return cls(results, usual, others)

    def step_ids(self) -> set[int]:
        """Return the steps of all these deliveries."""
        usual = {group.plan.step_id for group in self.usual}
        return usual | {each.held.step_id for each in self.others}


NO_RESULTS = Sorted([], [], [])


def is_usual(done: DeliveryResult) -> bool:
    held = done.held
    return (
        done.decision is ACCEPTED
        and done.branches is None
        and not (
            done.finishes
            or done.goes_to
            or done.starts
            or done.state
            or done.warning
            or done.ran_in_commit
            or done.has_attempt
            or held.branch
            or held.pending_outputs
        )
        and done.run_in_transaction is None
        and held.waiting is None
        and held.noted is None
    )


class AttemptsDiffer(Exception):
    """Attempts were written ahead as those of usual deliveries, and some of these are not usual."""


def write_attempts(database: Database, usual: Sequence[Usual]) -> None:
    for group in usual:
        database.each(sql.INSERT_STEP_RUN, group.attempts)


def attempts_of(plan: StepPlan, results: list[DeliveryResult], most_kept_bytes: int) -> Columns:
    """Return the columns of the rows that the deliveries have in the histories of their runs."""
    kept: list[Any] = [None] * len(results)
    sizes: list[Any] = kept
    if Disposition.ACCEPTED in KEPT[plan.keep]:
        kept = [each.held.body for each in results]
        # A character has up to four bytes.
        if 4 * max(map(len, kept)) > most_kept_bytes:
            cut = [beginning(body, most_kept_bytes) for body in kept]
            kept, sizes = [text for text, _ in cut], [size for _, size in cut]
    return Columns.of(
        {"step_id": plan.step_id, "outcome": ACCEPTED.outcome.value, "error": "", "branch": ""},
        id=[each.held.run_id for each in results],
        deliveries=[each.held.deliveries for each in results],
        started_at=[sql_time_of_epoch(each.started_at) for each in results],
        finished_at=[sql_time_of_epoch(each.finished_at) for each in results],
        logs=[each.logs for each in results],
        input=kept,
        input_bytes=sizes,
    )
