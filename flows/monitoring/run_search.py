"""Runs with a text in a payload or an error: as far as a page has time to look, newest first."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from flows.models import DeadLetter, Message, Run, StepRun
from flows.store.bounded import OutOfTime, within

SECONDS = 0.22
# Of this, dead letters get no more: all of them are looked at where PostgreSQL has an index.
SECONDS_FOR_LETTERS = 0.1
BATCH = 1_000
ENOUGH = 100
SHORTEST = 3
# Of a longer text the beginning is looked at. The index of dead letters has the same.
BEGINNING = 8192


@dataclass(slots=True)
class Found:
    """The runs with the text. `last` is the oldest run that was looked at, of `looked_at` many."""

    ids: list[UUID] = field(default_factory=list)
    looked_at: int = 0
    last: UUID | None = None
    is_complete: bool = False
    knows_all_letters: bool = False


def runs_with(text: str, runs: QuerySet[Run], seconds: float = SECONDS) -> Found:
    """Return which of the runs have the text, until there are enough or the time is over."""
    found = Found()
    deadline = time.monotonic() + seconds
    ids: set[UUID] = set()
    try:
        with within(min(SECONDS_FOR_LETTERS, seconds)):
            ids |= _failed(text, runs)
            found.knows_all_letters = True
    except OutOfTime:
        pass
    runs = runs.order_by("-pk")
    try:
        while len(ids) < ENOUGH:
            with within(deadline - time.monotonic()):
                rest = runs.filter(pk__lt=found.last) if found.last else runs
                batch = list(rest.values_list("pk", flat=True)[:BATCH])
                ids |= _among(text, batch)
            found.looked_at += len(batch)
            if len(batch) < BATCH:
                found.is_complete = True
                break
            found.last = batch[-1]
    except OutOfTime:
        pass
    found.ids = sorted(ids, reverse=True)
    return found


def _failed(text: str, runs: QuerySet[Run]) -> set[UUID]:
    letters = _with_text(DeadLetter.objects.all(), text, "body", "error")
    candidates = set(letters.order_by("-id").values_list("run_id", flat=True)[: 10 * ENOUGH])
    return set(runs.filter(pk__in=candidates).values_list("pk", flat=True)[:ENOUGH])


def _among(text: str, batch: Collection[UUID]) -> set[UUID]:
    """Return which of the runs have the text."""
    runs = _with_text(Run.objects.filter(pk__in=batch), text, "result", "error", "cancelled_input")
    attempts = _with_text(StepRun.objects.filter(run__in=batch), text, "input", "error")
    letters = _with_text(DeadLetter.objects.filter(run__in=batch), text, "body")
    messages = _with_text(Message.objects.of_runs(batch), text, "body")
    found = set(runs.order_by().values_list("pk", flat=True))
    for rows in (attempts, letters, messages):
        found |= set(rows.order_by().values_list("run_id", flat=True))
    return found


def _with_text(rows: QuerySet[Any], text: str, *fields: str) -> QuerySet[Any]:
    beginnings = {f"{name}_beginning": Left(name, BEGINNING) for name in fields}
    conditions = Q()
    for name in beginnings:
        conditions |= Q(**{f"{name}__icontains": text})
    return rows.alias(**beginnings).filter(conditions)
