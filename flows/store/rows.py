"""The rows of a run that is to be stored with its first message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from uuid import UUID

from flows.models import RunCallback, RunDeadline, RunLabel, RunTrace
from flows.models.users import key_in_database
from flows.store.database import Columns, sql_time
from flows.store.types import NewRun

# What the columns of a start are made of, but for its id and its body.
_SHARED = attrgetter(
    "flow_name",
    "flow_version_id",
    "user_id",
    "step_id",
    "queue_id",
    "start_at",
    "priority",
    "branch",
)


def start_row(run: NewRun, at: str, message_id: UUID | None = None) -> dict[str, object]:
    """Return the columns of a run and of its first message, whose id is that of the run if none is
    given.
    """
    run_id = run.correlation_id.hex
    return {
        "id": message_id.hex if message_id else run_id,
        "run_id": run_id,
        "flow_name": run.flow_name,
        "flow_version_id": run.flow_version_id,
        "user_id": key_in_database(run.user_id),
        "created_at": at,
        "step_id": run.step_id,
        "queue_id": run.queue_id,
        "body": run.body,
        "available_at": sql_time(run.start_at) if run.start_at else at,
        "priority": run.priority,
        "bypasses_pause": False,
        "delayed": run.start_at is not None,
        "branch": run.branch,
    }


def start_columns(runs: Sequence[NewRun], at: str) -> Iterator[Columns]:
    """Yield the same by columns: neighbours that differ in id and body alone are together."""
    for _, group in groupby(runs, _SHARED):
        alike = list(group)
        ids = [run.correlation_id.hex for run in alike]
        own = {"id": ids, "run_id": ids, "body": [run.body for run in alike]}
        row = start_row(alike[0], at)
        yield Columns(own, {name: value for name, value in row.items() if name not in own})


def store_beside(runs: Sequence[NewRun]) -> None:
    """Store what stands beside some runs: their labels, deadlines and callbacks."""
    labels = [
        RunLabel(run_id=run.correlation_id, key=key, value=value)
        for run in runs
        for key, value in run.labels
    ]
    deadlines = [
        RunDeadline(run_id=run.correlation_id, at=run.deadline) for run in runs if run.deadline
    ]
    callbacks = [
        RunCallback(run_id=run.correlation_id, url=run.callback_url)
        for run in runs
        if run.callback_url
    ]
    RunLabel.objects.bulk_create(labels)
    RunDeadline.objects.bulk_create(deadlines)
    RunCallback.objects.bulk_create(callbacks)
    if called := [run for run in runs if run.called_by]:
        store_traces(called)


def store_traces(runs: Sequence[NewRun]) -> None:
    """Store the spans that runs are started in."""
    from flows.traces.contexts import row_of

    RunTrace.objects.bulk_create(
        row_of(run.correlation_id, run.called_by) for run in runs if run.called_by
    )


def has_more_beside(runs: Sequence[NewRun]) -> bool:
    return any(run.labels or run.deadline or run.callback_url or run.called_by for run in runs)
