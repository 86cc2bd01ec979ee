"""Gather the texts of runs for the search, beside the hot path.

No start and no commit pays for it: a task reads the step runs that were added since it last looked,
and adds the texts of their runs to a table with an index for parts of a text. Then it goes back to
the step runs from before there was that table. It takes a few seconds of each minute at the most,
so where more runs end than it can read, the search is behind, and its page says until when it is
complete.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Left
from django_q.models import Schedule

from flows.encryption.payload_keys import is_encrypted
from flows.message.envelope import payload_of
from flows.models import Run, RunText, RunTextMark, StepRun
from flows.models.run_text import BEGINNING
from flows.store import store
from flows.tasks.schedules import ensure

SCHEDULE = "asyncengine texts of runs"
BUDGET_SECONDS = 4.0
# The step runs in one transaction: on SQLite no other process can write meanwhile, about 20 ms.
BATCH = 300
# A commit that began before this time has ended: no row with a lower id is added any more.
SETTLED = timedelta(seconds=30)


def gather(budget_seconds: float = BUDGET_SECONDS, settled: timedelta = SETTLED) -> int:
    """Add the texts of step runs that are not in the table yet; return of how many."""
    deadline = time.monotonic() + budget_seconds
    gathered = 0
    while True:
        begun_at = time.monotonic()
        with store().database.transaction():
            count = _gather_some(settled)
        if not count or time.monotonic() > deadline:
            return gathered + count
        gathered += count
        # Half of the time is left to the workers.
        time.sleep(time.monotonic() - begun_at)


def ensure_schedule(**kwargs: Any) -> None:
    """Have django-q2 gather once a minute: a receiver of post_migrate.

    A schedule that is there already stays as it was set. What succeeds is not stored.
    """
    ensure(
        SCHEDULE,
        kwargs.get("using", "default"),
        func="flows.tasks.run_texts.gather",
        kwargs="q_options={'save': False}",
        schedule_type=Schedule.MINUTES,
        minutes=1,
    )


def _gather_some(settled: timedelta) -> int:
    mark = RunTextMark.objects.select_for_update(skip_locked=True).filter(pk=1).first()
    if mark is None:
        _begin()
        return 0
    count = _go_forward(mark, settled) or _go_back(mark)
    mark.save()
    return count


def _begin() -> None:
    """Begin between what is there, which may be much, and what comes. Another may have begun."""
    now, last = store().database.now(), _last_id()
    mark = RunTextMark(pk=1, first=last, last=last, seen=last, seen_at=now)
    mark.since = _time_of(StepRun.objects.filter(pk=last)) if last else None
    RunTextMark.objects.bulk_create([mark], ignore_conflicts=True)


def _go_forward(mark: RunTextMark, settled: timedelta) -> int:
    now = store().database.now()
    # A clock that was set back must not stop it.
    if abs(now - mark.seen_at) < settled:
        return 0
    count = 0
    if mark.last < mark.seen:
        rows = StepRun.objects.filter(pk__gt=mark.last, pk__lte=mark.seen).order_by("pk")
        ids = _add_texts(rows)
        count = len(ids)
        mark.last = ids[-1] if count == BATCH else mark.seen
    if mark.last == mark.seen:
        mark.until = mark.seen_at
        mark.seen, mark.seen_at = _last_id(), now
    else:
        mark.until = _time_of(StepRun.objects.filter(pk=mark.last))
    return count


def _go_back(mark: RunTextMark) -> int:
    if not mark.first:
        return 0
    ids = _add_texts(StepRun.objects.filter(pk__lte=mark.first).order_by("-pk"))
    mark.first = ids[-1] - 1 if len(ids) == BATCH else 0
    mark.since = _time_of(StepRun.objects.filter(pk=ids[-1])) if mark.first else None
    return len(ids)


def _last_id() -> int:
    return StepRun.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _time_of(rows: QuerySet[StepRun]) -> datetime | None:
    return rows.values_list("finished_at", flat=True).first()


# --- texts -------------------------------------------------------------------------------------


def _add_texts(rows: QuerySet[StepRun]) -> Sequence[int]:
    """Add the texts of the first rows; return their ids."""
    fields = ("pk", "run_id", Left("input", 2 * BEGINNING), Left("error", BEGINNING))
    read = list(rows.values_list(*fields)[:BATCH])
    texts: dict[UUID, dict[str, None]] = defaultdict(dict)
    for _, run_id, envelope, error in read:
        for text in (_payload(_plain(envelope)), _plain(error)):
            texts[run_id][text] = None
    found = [
        RunText(run_id=run_id, text="\n".join(filter(None, texts[run_id] | dict.fromkeys(more))))
        for run_id, more in _texts_of_runs(texts)
    ]
    RunText.objects.bulk_create(each for each in found if each.text)
    return [pk for pk, *_ in read]


def _texts_of_runs(ids: Iterable[UUID]) -> Iterator[tuple[UUID, list[str]]]:
    """Yield runs with their results and errors, where they have them already.

    Those that were purged meanwhile are left out. A purge leaves the others alone until the commit,
    for it would not see their texts.
    """
    runs = Run.objects.filter(pk__in=list(ids))
    ended = runs.filter(status__in=Run.FINISHED).order_by("pk")
    list(ended.select_for_update(of=("self",), no_key=True).values_list("pk"))
    fields = (Left("result", 2 * BEGINNING), Left("error", BEGINNING))
    for run_id, *texts in runs.values_list("pk", *fields):
        result, error = map(_plain, texts)
        # A script that gives back its message has made the envelope the result.
        is_envelope = result.startswith(f'{{"correlationId":"{run_id}"')
        yield run_id, [_payload(result) if is_envelope else result[:BEGINNING], error]


def _plain(text: str | None) -> str:
    """Return a text as it is stored, without those that are encrypted: they are not searched."""
    return "" if text is None or is_encrypted(text) else text


def _payload(envelope: str) -> str:
    """Return the beginning of a payload, without the id around it."""
    if not envelope:
        return ""
    try:
        return (payload_of(envelope) or envelope)[:BEGINNING]
    except (KeyError, ValueError, RecursionError):
        # It was cut.
        return envelope[:BEGINNING]
