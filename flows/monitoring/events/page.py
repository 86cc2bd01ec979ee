"""Make events of the rows that commits have stored, as the text of a stream (server-sent events).

An attempt gives its log lines, then itself, and then the end of its run if that has ended and no
later attempt is there. What a stream has heard of the lines before, while the script ran, is not
told again (`live`). A run may end without an attempt: see `flows/models/quiet_end.py`.

The id of an event is a `Position`: a stream that goes on behind it has all that follow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Max, QuerySet

from flows.models import QuietEnd, Run, StepRun
from flows.models.payload_text import Unread, beginning, shown
from flows.monitoring.error_codes import (
    LONGEST_ERROR,
    NONE,
    Attempt,
    Codes,
    codes_of_attempts,
    codes_of_runs,
)
from flows.monitoring.events.live import Heard, Place, Said
from flows.monitoring.events.selection import Selection
from flows.monitoring.events.settled import last_id_given
from flows.monitoring.times import rfc3339
from flows.plan import step_plan
from flows.store import store

STEP_FINISHED, ATTEMPT_FAILED, LOG = "step-finished", "attempt-failed", "log"
ATTEMPT_WAITS, RUN_FINISHED = "attempt-waits", "run-finished"
NAME_BY_OUTCOME = {
    StepRun.Outcome.COMPLETED: STEP_FINISHED,
    StepRun.Outcome.WAITING: ATTEMPT_WAITS,
}

# The attempts and ends in one page, the ids that it looks at, and about its longest text.
MOST_ROWS = 200
MOST_IDS = 50_000
LONGEST_TEXT = 512 * 1024

# How far back a stream of many runs goes on behind an event.
RESUMABLE = timedelta(hours=1, minutes=5)
# The `told` of the last event of a run: nothing follows unless the run goes on again.
OVER = 999_999

POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})(?:-([0-9]{1,6}))?")

ATTEMPT_COLUMNS = (
    *("pk", "run_id", "step_id", "branch", "delivery", "outcome", "started_at", "finished_at"),
    *(beginning("error", LONGEST_ERROR), shown("logs")),
)
RUN_COLUMNS = (
    *("pk", "status", "finished_at", beginning("error", LONGEST_ERROR)),
    *("warnings", "started_by_id"),
    *("flow_version__flow_id", "flow_version__flow_name"),
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream: the last attempt and the last quiet end before it.

    `told`: how many events of the next attempt are before it, too.
    """

    attempt: int = 0
    end: int = 0
    told: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}-{self.end}" + (f"-{self.told}" if self.told else "")

    def is_before(self, other: Position) -> bool:
        """Say whether there may be events between."""
        return self.attempt < other.attempt or self.end < other.end

    def at_least(self, other: Position) -> Position:
        """Return the later of both."""
        if not self.is_before(other):
            return self
        return Position(max(self.attempt, other.attempt), max(self.end, other.end))

    @classmethod
    def read(cls, text: str) -> Position | None:
        """Return the position of an event's id, None if it is none."""
        found = POSITION.fullmatch(text)
        return cls(*(int(part or 0) for part in found.groups())) if found else None


@dataclass(frozen=True, slots=True)
class Page:
    """The text of some events, and the position behind them. `is_last`: none follow.

    Of the page of a run `ended` has the attempts in it.
    """

    text: bytes
    until: Position
    is_last: bool = False
    ended: tuple[Place, ...] = ()


def read_page(
    selection: Selection, after: Position, upto: Position, heard: Heard | None = None
) -> Page:
    """Return the next events of a selection. All ids up to `upto` must be decided.

    It may be empty although events follow: `until` has moved on then.
    """
    pages = _OfRun if selection.run_id else _OfFlows
    return pages(selection, after, upto, heard or Heard()).read()


def live_page(run_id: UUID, heard: Heard, said: Said) -> bytes:
    """Return the events of lines of scripts that still run, those that were not heard."""
    return b"".join(
        event_text(LOG, log_line(_about_running(run_id, place), line))
        for place, line in heard.news(said)
    )


class _Reading:
    """Reads one page."""

    def __init__(self, selection: Selection, after: Position, upto: Position, heard: Heard) -> None:
        self.selection = selection
        self.heard = heard
        self.after = self.until = after
        self.upto = upto
        self.blocks: list[bytes] = []
        self.ended: list[Place] = []
        self.size = 0

    def attempts(self, rows: QuerySet[StepRun], last: int) -> bool:
        """Add the attempts of these rows up to that id. False: there are more."""
        rows = rows.filter(pk__gt=self.after.attempt, pk__lte=last).order_by("pk")
        found = [told(row) for row in rows.values_list(*ATTEMPT_COLUMNS)[:MOST_ROWS]]
        runs = runs_of({row[1] for row in found})
        codes = codes_of_attempts(attempt_of(row) for row in found)
        ends = last_attempts({pk for pk, run in runs.items() if run.is_over})
        for row in found:
            if self.size > LONGEST_TEXT:
                return False
            run = runs.get(row[1])
            if run and self.selection.has(run.flow_id, run.started_by):
                is_end = ends.get(row[1]) == row[0] and not self.selection.run_id
                self._add_attempt(row, run, codes.get(attempt_of(row), NONE), is_end=is_end)
        if len(found) == MOST_ROWS:
            self._move(attempt=found[-1][0])
            return False
        if last > self.until.attempt:
            self._move(attempt=last)
        return True

    def _add_attempt(self, row: Any, run: EndOfRun, codes: Codes, *, is_end: bool) -> None:
        events = [*events_of(row, run.flow_name, codes)]
        if is_end and run.status != Run.Status.CANCELLED:
            events.append(run.event())
        _, _, step_id, branch, delivery, *_, logs = row
        place = Place(step_id, branch, delivery)
        heard = self.heard.numbers_of(place, logs)
        if self.selection.run_id:
            self.ended.append(place)
        for number, (name, data) in enumerate(events[:-1], 1):
            if number > self.until.told and number - 1 not in heard:
                self._add(name, data, replace(self.until, told=number))
        name, data = events[-1]
        self._move(attempt=row[0])
        self._add(name, data, self.until)

    def _move(self, **to: int) -> None:
        self.until = replace(self.until, told=0, **to)

    def _add(self, name: str, data: dict[str, Any], at: Position) -> None:
        text = b"id: %s\n%s" % (str(at).encode(), event_text(name, data))
        self.blocks.append(text)
        self.size += len(text)

    def page(self, *, is_last: bool = False) -> Page:
        return Page(b"".join(self.blocks), self.until, is_last, tuple(self.ended))


class _OfFlows(_Reading):
    """Reads a page of the events of many runs."""

    def read(self) -> Page:
        last = min(self.upto.attempt, self.after.attempt + MOST_IDS)
        if self.attempts(self._rows(), last) and last == self.upto.attempt:
            self._quiet_ends()
        return self.page()

    def _rows(self) -> QuerySet[StepRun]:
        rows = StepRun.objects.all()
        if self.selection.flow_id is not None:
            return rows.filter(step__flow_version__flow=self.selection.flow_id)
        flow_ids = self.selection.sight.flow_ids()
        return rows if flow_ids is None else rows.filter(step__flow_version__flow__in=flow_ids)

    def _quiet_ends(self) -> None:
        found = list(
            QuietEnd.objects.filter(pk__gt=self.until.end, pk__lte=self.upto.end)
            .order_by("pk")
            .values_list("pk", "run")[:MOST_ROWS]
        )
        runs = runs_of({run_id for _, run_id in found})
        for pk, run_id in found:
            run = runs.get(run_id)
            self._move(end=pk)
            if run and run.is_over and self.selection.has(run.flow_id, run.started_by):
                self._add(*run.event(), self.until)
        if len(found) < MOST_ROWS and self.upto.end > self.until.end:
            self._move(end=self.upto.end)


class _OfRun(_Reading):
    """Reads a page of the events of one run. Its end is the last one."""

    def read(self) -> Page:
        run_id = self.selection.run_id
        assert run_id is not None
        # Read before the attempts: of a run that is over by now all of them are there.
        run = runs_of([run_id]).get(run_id)
        if run is None:
            return Page(b"", self.after, is_last=True)
        rows = StepRun.objects.filter(run=run_id)
        last = self.upto.attempt
        if run.is_over:
            last = max(last, last_attempts([run_id]).get(run_id, 0))
        if not self.attempts(rows, last):
            return self.page()
        if self.upto.end > self.until.end:
            self._move(end=self.upto.end)
        if run.is_over:
            # Its own end is told, though not all ids before that one may be decided.
            end = last_end(run_id, self.until) or self.until.end
            self.until = replace(self.until, end=end, told=OVER)
            self._add(*run.event(), self.until)
        return self.page(is_last=run.is_over)


@dataclass(frozen=True, slots=True)
class EndOfRun:
    """What is told of a run at its end, and whose it is."""

    run_id: UUID
    status: str
    finished_at: Any
    error: str
    warnings: int
    started_by: Any
    flow_id: int | None
    flow_name: str
    codes: Codes = NONE

    @property
    def is_over(self) -> bool:
        return self.status in Run.FINISHED

    def event(self) -> tuple[str, dict[str, Any]]:
        return RUN_FINISHED, {
            "correlationId": str(self.run_id),
            "flowName": self.flow_name,
            "status": self.status,
            "finishedAt": rfc3339(self.finished_at),
            "error": self.error or None,
            "errorCode": self.codes.error,
            "causeCode": self.codes.cause,
            "warnings": self.warnings,
        }


def is_ahead(place: Position) -> bool:
    """Tell whether a position has ids that this database has not given.

    It is of another one, or of the time before a backup was restored.
    """
    given = Position(last_id_given(StepRun), last_id_given(QuietEnd))
    return given.is_before(place)


def is_over(run_id: UUID, after: Position) -> bool:
    """Tell whether nothing has happened in a run behind the end that was told of it.

    A run that was reprocessed may have ended again since.
    """
    attempts = StepRun.objects.filter(run=run_id, pk__gt=after.attempt)
    return last_end(run_id, after) is None and not attempts.exists()


def last_end(run_id: UUID, after: Position) -> int | None:
    """Return the id of the last quiet end of a run behind a position, None if there is none."""
    ends = QuietEnd.objects.filter(run=run_id, pk__gt=after.end)
    found: int | None = ends.aggregate(last=Max("pk"))["last"]
    return found


def missed_since(after: Position) -> datetime | None:
    """Return when the next attempt was made, if that is too long ago to go on behind a position."""
    rows = StepRun.objects.filter(pk__gt=after.attempt).order_by("pk")
    at: datetime | None = rows.values_list("finished_at", flat=True).first()
    return at if at and store().database.now() - at > RESUMABLE else None


def runs_of(ids: Collection[UUID]) -> dict[UUID, EndOfRun]:
    rows = Run.objects.filter(pk__in=ids).values_list(*RUN_COLUMNS) if ids else []
    runs = {row[0]: EndOfRun(*row) for row in rows}
    codes = codes_of_runs({id: run.status for id, run in runs.items() if run.error})
    return runs | {id: replace(runs[id], codes=of_run) for id, of_run in codes.items()}


def last_attempts(ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the id of the last attempt of each of these runs."""
    if not ids:
        return {}
    attempts = StepRun.objects.filter(run__in=ids).order_by()
    return dict(attempts.values("run_id").annotate(last=Max("pk")).values_list("run_id", "last"))


def event_text(name: str, data: dict[str, Any]) -> bytes:
    """Return an event without an id, as a stream has it."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def told(row: Sequence[Any]) -> Sequence[Any]:
    """Return an attempt with one line in place of a log that no key decrypts."""
    *others, finished_at, error, logs = row
    if isinstance(logs, Unread):
        line = {"at": finished_at.timestamp(), "level": "warning", "text": str(logs)}
        logs = orjson.dumps([line]).decode()
    return *others, finished_at, error, logs


def attempt_of(row: Sequence[Any]) -> Attempt:
    _, run_id, step_id, branch, delivery, outcome, started_at, _, error, _ = row
    return Attempt(run_id, step_id, branch, delivery, outcome, started_at, error)


def events_of(row: Any, flow_name: str, codes: Codes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the log lines of an attempt, and then the attempt."""
    _, run_id, step_id, branch, delivery, outcome, started_at, finished_at, error, logs = row
    about = _about(run_id, flow_name, step_plan(step_id).site.step, branch, delivery)
    for line in orjson.loads(logs) if logs else ():
        yield LOG, log_line(about, line)
    yield (
        NAME_BY_OUTCOME.get(outcome, ATTEMPT_FAILED),
        about
        | {
            "outcome": outcome,
            "startedAt": rfc3339(started_at),
            "finishedAt": rfc3339(finished_at),
            "error": error or None,
            "errorCode": codes.error,
            "causeCode": codes.cause,
        },
    )


def log_line(about: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(line["at"], UTC)
    return about | {"at": rfc3339(at), "level": line["level"], "text": line["text"]}


def _about_running(run_id: UUID, place: Place) -> dict[str, Any]:
    site = step_plan(place.step_id).site
    return _about(run_id, site.flow, site.step, place.branch, place.delivery)


def _about(
    run_id: UUID, flow_name: str, step_name: str, branch: str, delivery: int
) -> dict[str, Any]:
    return {
        "correlationId": str(run_id),
        "flowName": flow_name,
        "stepName": step_name,
        "branch": branch or None,
        "delivery": delivery,
    }
