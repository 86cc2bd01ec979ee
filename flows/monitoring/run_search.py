"""Runs with a text in a payload or an error, newest first, in the time that a page has.

Three places are searched: the dead letters and the gathered texts of runs, all of them by indexes
for parts of a text, and the newest runs, whose texts `flows/tasks/run_texts.py` may not have
gathered yet.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left

from flows.models import DeadLetter, Message, Run, RunText, RunTextMark, StepRun
from flows.models.run_text import BEGINNING
from flows.store import store
from flows.store.bounded import OutOfTime, within

SECONDS = 0.2
# Of this, the places with an index get no more each; they take some milliseconds.
SECONDS_FOR_LETTERS = 0.06
SECONDS_FOR_TEXTS = 0.1
# Where texts are gathered until now, there is little that they lack.
SECONDS_FOR_NEWEST = 0.04
BATCH = 1_000
ENOUGH = 100
SHORTEST = 3
# The ids of the rows that have a text.
MATCHES = "SELECT rowid FROM flows_runtext_index WHERE text MATCH %s"
HAS_INDEX = "SELECT 1 FROM sqlite_master WHERE name = 'flows_runtext_index'"


@dataclass(slots=True)
class Found:
    """The runs with the text, and how far the search got.

    `last` is the oldest run that was looked at, of `looked_at` many. `until` is when the gathered
    texts end that were all searched, None where they were not; `since` when they begin, None if
    with the first run.
    """

    ids: list[UUID] = field(default_factory=list)
    looked_at: int = 0
    last: UUID | None = None
    is_complete: bool = False
    knows_all_letters: bool = False
    since: datetime | None = None
    until: datetime | None = None


def runs_with(text: str, runs: QuerySet[Run], seconds: float = SECONDS) -> Found:
    """Return which of the runs have the text, until there are enough or the time is over."""
    found = Found()
    deadline = time.monotonic() + seconds
    ids: set[UUID] = set()
    with suppress(OutOfTime), within(min(SECONDS_FOR_LETTERS, seconds)):
        ids |= _failed(text, runs)
        found.knows_all_letters = True
    with suppress(OutOfTime), within(min(SECONDS_FOR_TEXTS, deadline - time.monotonic())):
        mark = RunTextMark.objects.first()
        ids |= _gathered(text, runs)
        if mark:
            found.since, found.until = mark.since, mark.until
    if found.until:
        deadline = min(deadline, time.monotonic() + SECONDS_FOR_NEWEST)
    _look_at_newest(text, runs.order_by("-pk"), found, ids, deadline)
    found.ids = sorted(ids, reverse=True)
    return found


def _look_at_newest(
    text: str, runs: QuerySet[Run], found: Found, ids: set[UUID], deadline: float
) -> None:
    with suppress(OutOfTime):
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


def _gathered(text: str, runs: QuerySet[Run]) -> set[UUID]:
    texts = RunText.objects.filter(run=OuterRef("pk")).order_by()
    if connection.vendor == "sqlite" and _has_index():
        phrase = '"{}"'.format(text.replace('"', '""'))
        texts = texts.filter(pk__in=RawSQL(MATCHES, [phrase]))  # noqa: S611  it has no other text
    else:
        texts = texts.filter(text__icontains=text)
    return set(runs.filter(Exists(texts)).order_by("-pk").values_list("pk", flat=True)[:ENOUGH])


def _has_index() -> bool:
    return bool(store().database.query(HAS_INDEX))


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
