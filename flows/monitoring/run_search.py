"""Runs with a text in a payload or an error, newest first, in the time that a page has.

Three places are searched: the dead letters and the gathered texts of runs, all of them by indexes
for parts of a text, and the newest runs, whose texts `flows/tasks/run_texts.py` may not have
gathered yet. What is encrypted is not searched.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Concat, Left

from flows.models import DeadLetter, Message, Run, RunText, RunTextMark, StepRun
from flows.models.payload_text import is_encrypted
from flows.models.run_text import BEGINNING
from flows.store import store
from flows.store.bounded import OutOfTime, within
from flows.store.letter_case import in_both_cases

SECONDS = 0.2
# Of this, the places with an index get no more each; they take some milliseconds.
SECONDS_FOR_LETTERS = 0.05
SECONDS_FOR_TEXTS = 0.08
# A text that one run in some hundreds has is found sooner among the newest than by the index.
SECONDS_FOR_NEWEST_TEXTS = 0.04
NEWEST_TEXTS = 20_000
# Where texts are gathered until now, there is little that they lack.
SECONDS_FOR_NEWEST = 0.03
# The first ones are looked at in any case that leaves a moment: they are what is asked for most.
FIRST_BATCH, BATCH = 100, 1_000
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


def runs_with(
    text: str, runs: QuerySet[Run], seconds: float | None = None, before: UUID | None = None
) -> Found:
    """Return which of the runs have the text, until there are enough or the time is over.

    `before` is the id that all the runs are below, if there is one.
    """
    found = Found()
    seconds = SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    ids: set[UUID] = set()
    with suppress(OutOfTime), within(min(SECONDS_FOR_LETTERS, seconds)):
        ids |= _failed(text, runs)
        found.knows_all_letters = True
    mark = RunTextMark.objects.first()
    if mark:
        with suppress(OutOfTime), within(min(SECONDS_FOR_TEXTS, deadline - time.monotonic())):
            ids |= _gathered(text, runs, before)
            found.since, found.until = mark.since, mark.until
        if not found.until:
            with suppress(OutOfTime), within(SECONDS_FOR_NEWEST_TEXTS):
                ids |= _newly_gathered(text, runs, before)
    soon = min(deadline, time.monotonic() + SECONDS_FOR_NEWEST) if mark else deadline
    _look_at_newest(text, runs.order_by("-pk"), found, ids, deadline, soon)
    found.ids = sorted(ids, reverse=True)
    return found


def _look_at_newest(
    text: str, runs: QuerySet[Run], found: Found, ids: set[UUID], deadline: float, soon: float
) -> None:
    """Look at the first ones until the deadline, at further ones if that is soon."""
    size = FIRST_BATCH
    with suppress(OutOfTime):
        while len(ids) < ENOUGH:
            with within((soon if found.last else deadline) - time.monotonic()):
                rest = runs.filter(pk__lt=found.last) if found.last else runs
                batch = list(rest.values_list("pk", flat=True)[:size])
                ids |= _among(text, batch)
            found.looked_at += len(batch)
            if len(batch) < size:
                found.is_complete = True
                break
            found.last, size = batch[-1], BATCH


def _gathered(text: str, runs: QuerySet[Run], before: UUID | None) -> set[UUID]:
    """Return the newest of the runs with the text. Raises OutOfTime."""
    texts = _texts_with(text)
    newest = texts.filter(run__lt=before) if before else texts
    candidates = list(newest.order_by("-run").values_list("run", flat=True)[:ENOUGH])
    found = set(runs.filter(pk__in=candidates).order_by().values_list("pk", flat=True))
    if len(candidates) < ENOUGH or len(found) == len(set(candidates)):
        return found
    # Many runs have it, but few of those that are asked about.
    has_text = Exists(texts.filter(run=OuterRef("pk")).order_by())
    return set(runs.filter(has_text).order_by("-pk").values_list("pk", flat=True)[:ENOUGH])


def _newly_gathered(text: str, runs: QuerySet[Run], before: UUID | None) -> set[UUID]:
    texts = RunText.objects.filter(run__lt=before) if before else RunText.objects.all()
    newest = texts.order_by("-run").values_list("run", flat=True)
    oldest = next(iter(newest[NEWEST_TEXTS - 1 : NEWEST_TEXTS]), UUID(int=0))
    found = newest.filter(run__gte=oldest, text__icontains=text)[:ENOUGH]
    return set(runs.filter(pk__in=list(found)).order_by().values_list("pk", flat=True))


def _texts_with(text: str) -> QuerySet[RunText]:
    if connection.vendor == "sqlite" and _has_index():
        phrase = '"{}"'.format(text.replace('"', '""'))
        matches = RawSQL(MATCHES, [phrase])  # noqa: S611  the text is a parameter
        return RunText.objects.filter(pk__in=matches)
    part = rarest_part(text)
    texts = RunText.objects.filter(text__icontains=part)
    if part == text:
        return texts
    # An expression that the index does not know: it is to look for the part alone.
    whole = Concat("text", Value(""), output_field=TextField())
    return texts.alias(whole=whole).filter(whole__icontains=text)


def rarest_part(text: str) -> str:
    """Return the part of a text that an index of trigrams finds fastest.

    The names and signs around a value, such as `"order":`, are in most payloads, and an index that
    goes through the lists of their trigrams takes ten times as long.
    """
    words = [word for word in re.findall(r"\w+", text) if len(word) >= SHORTEST]
    return max(words, key=lambda word: (any(map(str.isdigit, word)), len(word)), default=text)


def _has_index() -> bool:
    return bool(store().database.query(HAS_INDEX))


def _failed(text: str, runs: QuerySet[Run]) -> set[UUID]:
    letters = _with_text(DeadLetter.objects.all(), text, "body", "error").order_by("-id")
    found: set[UUID] = set()
    for most in (ENOUGH, 10 * ENOUGH):
        candidates = list(letters.values_list("run_id", flat=True)[:most])
        found = set(runs.filter(pk__in=candidates).values_list("pk", flat=True)[:ENOUGH])
        if len(candidates) < most or len(found) == len(set(candidates)):
            break
    return found


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
    for name in fields:
        for each in in_both_cases(text):
            conditions |= Q(**{f"{name}_beginning__icontains": each}) & ~is_encrypted(name)
    return rows.alias(**beginnings).filter(conditions)
