"""Where a payload of a run may be, or a part of it, and what stands there when it is erased.

The sweep in tests/integration/test_erasure.py looks through every column of every table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet, Value

from flows.models import (
    BranchEnd,
    DeadLetter,
    IdempotencyKey,
    Run,
    RunningAttempt,
    RunText,
    StepRun,
    WebhookDelivery,
)
from flows.monitoring.run_search import HAS_INDEX
from flows.store import store

# Pages that a step of the index of the search merges, while no other process can write.
MERGED_PAGES = 64
MERGE = "INSERT INTO flows_runtext_index (flows_runtext_index, rank) VALUES ('merge', %s)"
ERASED = "[erased]"
ENVELOPE = f'{{"payload":"{ERASED}"}}'


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of a run that have something to erase, and their columns afterwards.

    Without columns the rows are deleted.
    """

    name: str
    rows: Callable[[Collection[UUID]], QuerySet[Any]]
    cleared: Mapping[str, Any] | None = None

    def erase(self, run_id: UUID) -> int:
        rows = self.rows([run_id]).order_by()
        if self.cleared is None:
            # No signal keeps them: the run has ended.
            return rows._raw_delete(connection.alias)
        # As values, which are not encrypted: they are looked for afterwards.
        cleared = {n: v if v is None else Value(v) for n, v in self.cleared.items()}
        return rows.update(**cleared)


def _without(field: str, *values: str | None) -> Q:
    """Return the condition that a column has none of the values."""
    given = [value for value in values if value is not None]
    condition = ~Q(**{f"{field}__in": given}) if given else Q()
    return condition & Q(**{f"{field}__isnull": False})


def _of(model: type[Any], condition: Q | None = None, run: str = "run") -> Any:
    found = f"{run}__in"
    return lambda run_ids: model._default_manager.filter(condition or Q(), **{found: run_ids})


PLACES = (
    Place("results", _of(Run, _without("result"), "pk"), {"result": None}),
    Place(
        "waitingMessages", _of(Run, _without("cancelled_input"), "pk"), {"cancelled_input": None}
    ),
    Place("runErrors", _of(Run, _without("error", "", ERASED), "pk"), {"error": ERASED}),
    Place("inputs", _of(StepRun, _without("input")), {"input": None, "input_bytes": None}),
    Place("attemptErrors", _of(StepRun, _without("error", "", ERASED)), {"error": ERASED}),
    Place("logs", _of(StepRun, _without("logs", "")), {"logs": ""}),
    # Under the run's own id: what is left of a worker that was killed.
    Place("runningAttempts", _of(RunningAttempt, run="pk")),
    Place(
        "deadLetters",
        _of(DeadLetter, _without("body", ENVELOPE)),
        {"body": ENVELOPE, "error": ERASED, "error_class": ERASED, "code": None, "details": None},
    ),
    Place("branchEnds", _of(BranchEnd)),
    Place("searchTexts", _of(RunText)),
    Place("idempotencyKeys", _of(IdempotencyKey)),
    Place(
        "webhookDeliveries",
        _of(WebhookDelivery, _without("body", "") | _without("answer", "") | _without("error", "")),
        {"body": "", "answer": "", "error": ""},
    ),
)


def erase_places(run_id: UUID, now: datetime) -> Counter[str]:
    """Erase the payloads of a locked run that has ended; return how many rows had some, by place.

    The caller holds the mark of the search, so that no text is gathered meanwhile.
    """
    erased: Counter[str] = Counter()
    for place in PLACES:
        erased[place.name] += place.erase(run_id)
    # A sender that is at one of them does not write what it has read before.
    pending = WebhookDelivery.objects.filter(run=run_id, status=WebhookDelivery.Status.PENDING)
    pending.update(next_attempt_at=now)
    Run.objects.filter(pk=run_id).update(erased_at=now)
    return +erased


def count_places(run_ids: Collection[UUID]) -> Counter[str]:
    """Return how many rows of some runs have something to erase, by place."""
    return +Counter({place.name: place.rows(run_ids).count() for place in PLACES})


def merge_texts(ends_at: float) -> bool:
    """Have SQLite's index of the search forget what was deleted; tell whether it has by this time.

    It keeps the parts of deleted texts, with their places, until all that it has is merged: see
    "The 'merge' Command" in the documentation of FTS5. `ends_at` is of the monotonic clock.
    """
    if connection.vendor != "sqlite" or not store().database.query(HAS_INDEX):
        return True
    connection.ensure_connection()
    with overwriting():
        # Negative: it begins, with everything.
        pages = -MERGED_PAGES
        while True:
            before = connection.connection.total_changes
            with store().database.transaction():
                store().database.change(MERGE, [pages])
            changes = connection.connection.total_changes - before
            if changes < 2 and pages > 0:
                return True
            if pages > 0 and time.monotonic() >= ends_at:
                return False
            pages = MERGED_PAGES


@contextmanager
def overwriting() -> Iterator[None]:
    """Have SQLite overwrite what is deleted in the block. PostgreSQL's vacuum frees it later."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA secure_delete").fetchone()[0]
        cursor.execute("PRAGMA secure_delete = ON")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA secure_delete = {before}")
