"""Fills a database with runs that were never made, to see how pages and queries bear the number.

Counters and totals agree with the rows, so conservation balances. The queues are paused: the
messages stay where they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import orjson
from django.db import connection, transaction
from django.utils import timezone

from flows.configuration import import_configuration
from flows.message.error_class import error_class_of
from flows.models import (
    CountBlock,
    CountedTotals,
    Flow,
    FlowTotals,
    FlowVersion,
    Queue,
    RunTextMark,
    StepRun,
)
from flows.monitoring.curves import RESOLUTIONS, Resolution
from flows.monitoring.histogram import Histogram, bucket_of, written

STEPS = ("check", "book", "notify")
CHUNK = 100_000
DAY_MS = 86_400_000
# A run took this long, and each of its steps a third of it.
RUN_MS = 900
SCRIPT = "seed-step"
CODE = "def run(message, context):\n    return message\n"
ERRORS = (
    "ValueError: the amount is not a number",
    "KeyError: 'iban'",
    "TimeoutError: the rating service did not answer in 5 s",
    "ConnectionError: the booking service refused the connection",
)

# The id of run n holds its time and its number, as a UUIDv7 holds time and chance.
_ID = "{time}7{low}8{middle}{number}"


@dataclass(frozen=True)
class Amounts:
    """How much is made. `letters` of the finished `runs` have failed, with a dead letter each.

    The newest `traced` finished runs have a step run for each step.
    """

    runs: int = 10_000_000
    waiting: int = 1_000_000
    letters: int = 100_000
    queues: int = 200
    traced: int = 300_000
    days: int = 30


def seed(amounts: Amounts, say: Callable[[str], None] = lambda line: None) -> None:
    """Make it, in chunks of one transaction each. Flows with these names must not exist yet."""
    versions = _make_flows(ceil(amounts.queues / len(STEPS)), amounts)
    sql = _Sql(amounts, versions, round(time.time() * 1000))
    for first, end in _chunks(0, amounts.runs + amounts.waiting):
        with transaction.atomic():
            sql.runs(first, end)
            sql.letters(first, min(end, amounts.runs))
            sql.step_runs(max(first, amounts.runs - amounts.traced), min(end, amounts.runs))
            sql.texts(max(first, amounts.runs - amounts.traced), min(end, amounts.runs))
            sql.messages(max(first, amounts.runs), end)
            sql.totals(first, end)
        say(f"{end:,} of {amounts.runs + amounts.waiting:,} runs")
    _mark_texts()
    _make_curves(versions, amounts)


def _mark_texts() -> None:
    """Note that the search has the texts of all step runs."""
    last = StepRun.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    now = timezone.now()
    mark = RunTextMark(pk=1, first=0, last=last, seen=last, seen_at=now, until=now)
    RunTextMark.objects.bulk_create([mark], ignore_conflicts=True)


def _chunks(first: int, end: int) -> Iterator[tuple[int, int]]:
    for start in range(first, end, CHUNK):
        yield start, min(start + CHUNK, end)


def _make_flows(count: int, amounts: Amounts) -> list[FlowVersion]:
    """Make flows of three steps with paused queues."""
    names = [f"seed-{number:03}" for number in range(count)]
    room = max(10_000, ceil(2 * amounts.waiting / count))
    import_configuration(
        {
            "scripts": [{"name": SCRIPT, "language": "python", "code": CODE}],
            "queues": [
                {"name": f"{name}-{step}", "size": room} for name in names for step in STEPS
            ],
            "flows": [
                {
                    "name": name,
                    "description": "Made by the command seed.",
                    "steps": [
                        {"name": step, "script": SCRIPT, "queue": f"{name}-{step}"}
                        for step in STEPS
                    ],
                }
                for name in names
            ],
        }
    )
    Queue.objects.filter(step__flow__name__in=names).update(paused=True)
    return [flow.make_version() for flow in Flow.objects.filter(name__in=names).order_by("name")]


def _make_curves(versions: list[FlowVersion], amounts: Amounts) -> None:
    """Make the curves of an even stream of these runs, and note that the totals are counted."""
    totals = FlowTotals.objects.filter(pk__in={version.flow_name for version in versions})
    CountedTotals.objects.bulk_create(
        CountedTotals(each.flow_name, orjson.dumps(each.ever()).decode()) for each in totals
    )
    runs_each_second = amounts.runs / len(versions) / (amounts.days * 86_400)
    now = timezone.now()
    CountBlock.objects.bulk_create(
        CountBlock(
            flow_name=version.flow_name,
            step_name=step,
            slot_seconds=resolution.slot_seconds,
            begins_at=begins_at,
            **_counts(ceil(runs_each_second * resolution.slot_seconds), step, slots),
        )
        for version in versions
        for step in ("", *STEPS)
        for resolution in RESOLUTIONS
        for begins_at, slots in _blocks(resolution, now)
    )


def _blocks(resolution: Resolution, now: datetime) -> Iterator[tuple[datetime, int]]:
    """Yield the block before the present one and the present one, with how many slots they have."""
    begins_at, slot = resolution.place(now)
    yield begins_at - timedelta(seconds=resolution.span), resolution.slots
    yield begins_at, slot + 1


def _counts(number: int, step: str, slots: int) -> dict[str, str]:
    events = {"completed": [number] * slots} | ({} if step else {"accepted": [number] * slots})
    took_ms = RUN_MS // len(STEPS) if step else RUN_MS
    durations = Histogram({bucket_of(took_ms / 1000): number * slots})
    return {"counts": orjson.dumps(events).decode(), "durations": written(durations)}


class _Sql:
    """The statements. Each takes the numbers of runs from `first` up to `end`, without it."""

    def __init__(self, amounts: Amounts, versions: list[FlowVersion], now_ms: int) -> None:
        self.amounts, self.versions = amounts, len(versions)
        self.begun_ms = now_ms - amounts.days * DAY_MS
        self.each_ms = amounts.days * DAY_MS / (amounts.runs + amounts.waiting)
        # A run fails where its number is a multiple of this.
        self.failing = amounts.runs // amounts.letters if amounts.letters else 0
        self.is_postgresql = connection.vendor == "postgresql"
        self._name_versions(versions)

    def _name_versions(self, versions: list[FlowVersion]) -> None:
        """Make a table of this connection alone that gives each number its version and steps."""
        rows = [
            (number, version.pk, step.position, step.pk, step.queue_id)
            for number, version in enumerate(versions)
            for step in version.steps.order_by("position")
        ]
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE seed_step"
                " (flow bigint, version bigint, position bigint, step bigint, queue bigint)"
            )
            cursor.executemany("INSERT INTO seed_step VALUES (%s, %s, %s, %s, %s)", rows)

    def runs(self, first: int, end: int) -> None:
        self._insert(
            "flows_run (correlation_id, flow_version_id, status, created_at, started_at,"
            " finished_at, result, error, warnings, branches)",
            f"{self._id}, version, {self._status}, {self._time(0)},"
            f" CASE WHEN {self._is_finished} THEN {self._time(1)} END,"
            f" CASE WHEN {self._is_finished} THEN {self._time(RUN_MS)} END,"
            f" CASE WHEN {self._is_finished} AND NOT {self._has_failed}"
            f" THEN '{{\"order\":' || n || '}}' END,"
            f" CASE WHEN {self._has_failed} THEN {self._error} ELSE '' END, 0,"
            f" CASE WHEN {self._is_finished} AND NOT {self._has_failed} THEN 0 ELSE 1 END",
            first,
            end,
        )

    def letters(self, first: int, end: int) -> None:
        self._insert(
            "flows_deadletter (run_id, step_id, reason, error, error_class, body, deliveries,"
            " branch, dead_at)",
            f"{self._id}, step, 'exhausted', {self._error}, {self._error_class}, {self._body}, 5,"
            f" '', {self._time(RUN_MS)}",
            first,
            end,
            f"position = 0 AND {self._has_failed}",
        )

    def step_runs(self, first: int, end: int) -> None:
        third = RUN_MS // len(STEPS)
        self._insert(
            "flows_steprun (run_id, step_id, delivery, outcome, started_at, finished_at, error,"
            " logs, branch)",
            f"{self._id}, step, 1, CASE WHEN {self._has_failed} THEN 'FAILED' ELSE 'COMPLETED' END,"
            f" {self._time(f'{third} * position')}, {self._time(f'{third} * (position + 1)')},"
            f" CASE WHEN {self._has_failed} THEN {self._error} ELSE '' END, '', ''",
            first,
            end,
            f"(position = 0 OR NOT {self._has_failed})",
        )

    def texts(self, first: int, end: int) -> None:
        """Make what is searched: the payload of a run, and its result or error."""
        self._insert(
            "flows_runtext (run_id, text)",
            f"{self._id}, '{{\"order\":' || n || ',\"amount\":100}}' || {self._newline} ||"
            f" CASE WHEN {self._has_failed} THEN {self._error}"
            " ELSE '{\"order\":' || n || '}' END",
            first,
            end,
        )

    def messages(self, first: int, end: int) -> None:
        self._insert(
            "flows_message (id, run_id, step_id, queue_id, body, deliveries, available_at,"
            " priority, bypasses_pause, delayed, branch, suspects, pending_outputs)",
            f"{self._id}, {self._id}, step, queue, {self._body}, 0, {self._time(0)}, 4,"
            " false, false, '', 0, false",
            first,
            end,
            "position = 0",
        )

    def totals(self, first: int, end: int) -> None:
        """Count the rows of this chunk into totals and counters."""
        chunk = self._series(first, end)
        finished = f"count(*) FILTER (WHERE {self._is_finished} AND NOT {self._has_failed})"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO flows_flowtotals (flow_name, accepted, completed, failed, cancelled,"
                f" letters_made) {chunk} SELECT flow_name, count(*), {finished},"
                f" count(*) FILTER (WHERE {self._has_failed}), 0,"
                f" count(*) FILTER (WHERE {self._has_failed})"
                f" FROM series JOIN seed_step ON flow = n % {self.versions} AND position = 0"
                " JOIN flows_flowversion ON id = version GROUP BY flow_name"
                " ON CONFLICT (flow_name) DO UPDATE SET"
                " accepted = flows_flowtotals.accepted + excluded.accepted,"
                " completed = flows_flowtotals.completed + excluded.completed,"
                " failed = flows_flowtotals.failed + excluded.failed,"
                " letters_made = flows_flowtotals.letters_made + excluded.letters_made"
            )
            cursor.execute(
                f"{chunk} UPDATE flows_queuestate SET depth = depth + (SELECT count(*) FROM series"
                f" JOIN seed_step ON flow = n % {self.versions} AND position = 0"
                f" WHERE queue = queue_id AND n >= {self.amounts.runs})"
                " WHERE queue_id IN (SELECT queue FROM seed_step WHERE position = 0)"
            )

    def _insert(self, into: str, values: str, first: int, end: int, where: str = "") -> None:
        if first >= end:
            return
        where = where or "position = 0"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {into} {self._series(first, end)} SELECT {values} FROM series"
                f" JOIN seed_step ON flow = n % {self.versions} WHERE {where}"
            )

    @staticmethod
    def _series(first: int, end: int) -> str:
        return (
            f"WITH RECURSIVE series(n) AS (SELECT {first} UNION ALL"
            f" SELECT n + 1 FROM series WHERE n < {end - 1})"
        )

    @property
    def _status(self) -> str:
        return (
            f"CASE WHEN {self._has_failed} THEN 'FAILED' WHEN {self._is_finished}"
            " THEN 'COMPLETED' ELSE 'QUEUED' END"
        )

    @property
    def _is_finished(self) -> str:
        return f"(n < {self.amounts.runs})"

    @property
    def _has_failed(self) -> str:
        """The last numbers below the amount of runs may be beyond the amount of letters."""
        if not self.failing:
            return "(1 = 0)"
        last = self.failing * self.amounts.letters
        return f"(n < {last} AND n % {self.failing} = 0)"

    @property
    def _error(self) -> str:
        return self._one_of(ERRORS)

    @property
    def _error_class(self) -> str:
        return self._one_of([error_class_of(error) for error in ERRORS])

    def _one_of(self, errors: Sequence[str]) -> str:
        cases = " ".join(
            f"WHEN {number} THEN '{error.replace(chr(39), chr(39) * 2)}'"
            for number, error in enumerate(errors)
        )
        return f"CASE n / {max(1, self.failing)} % {len(ERRORS)} {cases} END"

    @property
    def _body(self) -> str:
        return (
            f'\'{{"correlationId":"\' || {self._id} ||'
            ' \'","payload":{"order":\' || n || \',"amount":100}}\''
        )

    @property
    def _id(self) -> str:
        return _ID.format(
            time=f"{self._hex(self._ms(0), 12)} || '",
            low=f"' || {self._hex('n % 4096', 3)} || '",
            middle=f"' || {self._hex('0', 3)} || ",
            number=self._hex("n", 12),
        ).join(("(", ")::uuid" if self.is_postgresql else ")"))

    @property
    def _newline(self) -> str:
        return "chr(10)" if self.is_postgresql else "char(10)"

    def _ms(self, later: int | str) -> str:
        return f"CAST({self.begun_ms} + n * {self.each_ms} + {later} AS bigint)"

    def _hex(self, number: str, digits: int) -> str:
        if self.is_postgresql:
            return f"lpad(to_hex({number}), {digits}, '0')"
        return f"printf('%0{digits}x', {number})"

    def _time(self, later: int | str) -> str:
        """Return the time of a run, `later` milliseconds after it began."""
        if self.is_postgresql:
            return f"to_timestamp({self._ms(later)} / 1000.0)"
        seconds = f"{self._ms(later)} / 1000.0"
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch') || '000'"
