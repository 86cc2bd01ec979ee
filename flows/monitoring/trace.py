"""The trace of a run: its current step, and every attempt of every step, read from the database."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from flows.models import (
    DeadLetter,
    Message,
    Run,
    RunDeadline,
    RunLabel,
    RunningAttempt,
    StepRun,
    StepVersion,
)
from flows.monitoring.error_codes import NONE, cause_of, codes_of_runs
from flows.monitoring.progress import newest, progress_document, progress_told
from flows.monitoring.run_letters import SCRIPT_OF_ROW, RunLetters
from flows.monitoring.times import rfc3339
from flows.monitoring.wait_reason import why_run
from flows.store.lost_attempts import STOPPED

# The status of a step that the run has not reached. The others are those of a run.
PENDING = "PENDING"
# The status of a step that the run has left out: it ended before, or a script went past it.
SKIPPED = "SKIPPED"
# The outcome of an attempt that has none yet.
RUNNING = "RUNNING"
# The most dead letters of a run that are named.
MOST_LETTERS = 1_000

ATTEMPT_FIELDS = (
    "run",
    "branch",
    "delivery",
    "started_at",
    "finished_at",
    "outcome",
    "error",
    "logs",
    "step__name",
    *SCRIPT_OF_ROW,
)

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.05


def trace(run: Run) -> dict[str, Any]:
    """Return the run with its steps and attempts, without its result, which may be long."""
    document = _outline(run)
    del document["result"]
    return document


def trace_json(run: Run, *, indent: bool = False) -> bytes:
    """Return the trace as JSON text. It has the result as the script wrote it, digit for digit."""
    document = _outline(run)
    if run.result is not None:
        document["result"] = orjson.Fragment(run.result)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else None)


def summaries(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return runs as they are shown in lists, without steps and result.

    Select their flow versions and starters with them. It takes seven queries for any number of
    runs.
    """
    current = current_steps([run for run in runs if run.status != Run.Status.COMPLETED])
    beside = Beside(runs)
    return [_summary(run, current.get(run.pk), beside) for run in runs]


class Beside:
    """What stands in tables beside some runs: their labels, deadlines and dead letters."""

    def __init__(self, runs: Sequence[Run]) -> None:
        run_ids = [run.pk for run in runs]
        self._labels: dict[UUID, dict[str, str]] = defaultdict(dict)
        labels = RunLabel.objects.filter(run__in=run_ids).order_by("key")
        for run_id, key, value in labels.values_list("run_id", "key", "value"):
            self._labels[run_id][key] = value
        deadlines = RunDeadline.objects.filter(pk__in=run_ids).order_by()
        self._deadlines = {
            run_id: (at, was_missed)
            for run_id, at, was_missed in deadlines.values_list("pk", "at", "was_missed")
        }
        missed = {run_id for run_id, (_, was_missed) in self._deadlines.items() if was_missed}
        self._codes = codes_of_runs({run.pk: run.status for run in runs if run.error}, missed)

    def labels(self, run_id: UUID) -> dict[str, str]:
        return self._labels.get(run_id, {})

    def deadline(self, run_id: UUID) -> datetime | None:
        return self._deadlines.get(run_id, (None, None))[0]

    def error_code(self, run: Run) -> str | None:
        """Return why it has failed, or was cancelled by its deadline."""
        return self._codes.get(run.pk, NONE).error

    def cause_code(self, run: Run) -> str | None:
        """Return how the delivery ended that it has failed with."""
        return self._codes.get(run.pk, NONE).cause


def wait_until_finished(
    run_id: UUID, seconds: float, meanwhile: Callable[[], object] = lambda: None
) -> bool:
    """Wait until the run has ended, for at most this time. Return whether it has ended.

    `meanwhile` is called between the looks.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while not Run.objects.filter(pk=run_id, status__in=Run.FINISHED).exists():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        meanwhile()
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return True


def finished_among(run_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the runs have ended. Deleted runs count as ended."""
    states = Run.objects.filter(pk__in=run_ids).values_list("pk", "status")
    return set(run_ids) - {pk for pk, status in states if status not in Run.FINISHED}


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def _outline(run: Run) -> dict[str, Any]:
    messages = _messages(run)
    if not messages and run.status not in Run.FINISHED:
        # It has ended since the run was read.
        run.refresh_from_db(
            fields=["status", "started_at", "finished_at", "result", "error", "warnings"]
        )
    letters = RunLetters(run)
    steps = _steps(run, messages, letters)
    cause = None if run.status in Run.FINISHED else why_run(run)
    return {
        **_summary(run, _current(run, steps), Beside([run])),
        "result": None,
        "priority": max((message["priority"] for message in messages), default=None),
        "startAt": next((_time(m["available_at"]) for m in messages if m["delayed"]), None),
        "waitingBecause": cause,
        "waitingCode": cause and cause.code,
        "deadLetterIds": [letter["id"] for letter in letters.open[:MOST_LETTERS]],
        "steps": steps,
    }


def _summary(run: Run, current_step: str | None, beside: Beside) -> dict[str, Any]:
    return {
        "correlationId": str(run.pk),
        "flowName": run.flow_version.flow_name,
        "flowVersion": run.flow_version.number,
        "status": run.status,
        "currentStep": current_step,
        "createdAt": _time(run.created_at),
        "startedAt": _time(run.started_at),
        "finishedAt": _time(run.finished_at),
        "labels": beside.labels(run.pk),
        "deadline": _time(beside.deadline(run.pk)),
        "error": run.error or None,
        "errorCode": beside.error_code(run),
        "causeCode": beside.cause_code(run),
        "warnings": run.warnings,
        "erasedAt": _time(run.erased_at),
        "startedBy": run.started_by and run.started_by.get_username(),
        "repeats": None if run.repeats is None else str(run.repeats),
        "parentCorrelationId": None if run.parent is None else str(run.parent),
    }


# --- where a run is ----------------------------------------------------------------------------


def _current(run: Run, steps: list[dict[str, Any]]) -> str | None:
    """Return the first step at which the run has a message, or that it has not completed."""
    if run.status == Run.Status.COMPLETED:
        return None
    ahead = [s for s in steps if s["status"] not in {SKIPPED, Run.Status.COMPLETED}]
    here = (s["name"] for s in ahead if s["status"] != PENDING)
    after = (s["name"] for s in ahead)
    return next(here, None) or next(after, None)


def current_steps(runs: Sequence[Run]) -> dict[UUID, str]:
    """Return the current step by run, as `_current` finds it."""
    names = _step_names(runs)
    places: dict[UUID, list[int]] = defaultdict(list)
    for run_id, position, pending_outputs in (
        Message.objects.of_runs([run.pk for run in runs])
        .values_list("run_id", "step__position", "pending_outputs")
        .distinct()
    ):
        places[run_id].append(position + pending_outputs)
    letters = DeadLetter.objects.open().filter(run__in=[run.pk for run in runs])
    for run_id, position in letters.order_by().values_list("run_id", "step__position").distinct():
        places[run_id].append(position)
    completed = _completed([run for run in runs if run.pk not in places])
    current: dict[UUID, str] = {}
    for run in runs:
        steps = names[run.flow_version_id]
        left = [at for at, name in enumerate(steps) if (run.pk, name) not in completed]
        at = min(places.get(run.pk, left), default=len(steps))
        if at < len(steps):
            current[run.pk] = steps[at]
    return current


def _step_names(runs: Sequence[Run]) -> dict[int, list[str]]:
    """Return the names of the steps by flow version, in order."""
    names: dict[int, list[str]] = defaultdict(list)
    versions = {run.flow_version_id for run in runs}
    steps = StepVersion.objects.filter(flow_version__in=versions).order_by("position")
    for version, name in steps.values_list("flow_version_id", "name"):
        names[version].append(name)
    return names


def _completed(runs: Sequence[Run]) -> set[tuple[UUID, str]]:
    """Return the steps that runs without a message have completed, by the run and their name."""
    if not runs:
        return set()
    attempts = StepRun.objects.filter(run__in=[run.pk for run in runs])
    done = attempts.filter(outcome=StepRun.Outcome.COMPLETED).order_by()
    return set(done.values_list("run_id", "step__name").distinct())


# --- the steps of a run ------------------------------------------------------------------------


@dataclass(slots=True)
class Place:
    """The attempts and messages of a run at one of its steps, of all branches."""

    attempts: list[dict[str, Any]] = field(default_factory=list)
    # By branch: the number of its last attempt, and the counted deliveries. A delivery that is
    # under way, or whose worker died, is counted and has no attempt.
    numbers: Counter[str] = field(default_factory=Counter)
    counted: dict[str, int] = field(default_factory=dict)
    # By branch: the attempts whose worker was stopped, which count as no delivery.
    stopped: Counter[str] = field(default_factory=Counter)
    waiting: bool = False
    held: bool = False
    letter: Mapping[str, Any] | None = None
    # What its running scripts have told last.
    progress: dict[str, Any] | None = None
    # The script that was tried or waits here last; None: nothing came here.
    script: dict[str, Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is under way here."""
        return self.held or self.waiting

    @property
    def deliveries(self) -> int:
        branches = self.numbers.keys() | self.counted.keys()
        return sum(max(self.numbers[b] - self.stopped[b], self.counted.get(b, 0)) for b in branches)


def _messages(run: Run) -> list[Mapping[str, Any]]:
    return list(
        Message.objects.of_run(run.pk).values(
            "id",
            "step__name",
            "step__position",
            "consumer_id",
            "deliveries",
            "branch",
            "pending_outputs",
            "priority",
            "available_at",
            "delayed",
            *SCRIPT_OF_ROW,
        )
    )


def _steps(
    run: Run, messages: Iterable[Mapping[str, Any]], letters: RunLetters
) -> list[dict[str, Any]]:
    versions = _step_versions(run)
    places = _places(run, messages, letters, [step.name for step in versions])
    statuses = statuses_of(run, [places[step.name] for step in versions])
    return [
        _step(run, step, places[step.name], status)
        for step, status in zip(versions, statuses, strict=True)
    ]


def _step_versions(run: Run) -> list[StepVersion]:
    steps = StepVersion.objects.filter(flow_version=run.flow_version_id).order_by("position")
    return list(
        steps.select_related("script_version").only(
            "name",
            "queue_name",
            "position",
            "script_version__script_name",
            "script_version__number",
        )
    )


def _places(
    run: Run,
    messages: Iterable[Mapping[str, Any]],
    letters: RunLetters,
    names: Sequence[str],
) -> dict[str, Place]:
    """Return the place for each step, by the step's name.

    The id would not do: after a run was requeued with the newest script, its first attempts are of
    another flow version.
    """
    places: dict[str, Place] = defaultdict(Place)
    _add_attempts(run, letters, places)
    for letter in letters.open:
        place = places[letter["step__name"]]
        place.letter = letter
        place.script = _script_of_row(letter)
        place.counted[letter["branch"]] = letter["deliveries"]
    running = running_attempts(messages)
    for message in messages:
        following = message["step__position"] + 1
        if message["pending_outputs"] and following < len(names):
            # Its step is done, and the message waits for the next step.
            places[names[following]].waiting = True
            continue
        place = places[message["step__name"]]
        place.counted[message["branch"]] = message["deliveries"]
        place.script = _script_of_row(message)
        place.held |= message["consumer_id"] is not None
        place.waiting |= message["consumer_id"] is None
        if attempt := running.get(message["id"]):
            place.attempts.append(_running(place, message, attempt))
            place.progress = newest(place.progress, progress_told(attempt))
    return places


def _add_attempts(run: Run, letters: RunLetters, places: dict[str, Place]) -> None:
    """Add the attempts in the order in which they were stored, numbered for each branch.

    An attempt of less than a second whose worker died has no row, so its number is missing.
    """
    stored = StepRun.objects.filter(run=run.pk).order_by("id")
    for step_run in stored.select_related("step__script_version").only(*ATTEMPT_FIELDS):
        place, branch = places[step_run.step.name], step_run.branch
        place.script = script = _script_of(step_run.step)
        place.numbers[branch] = max(place.numbers[branch] + 1, step_run.delivery)
        place.stopped[branch] += step_run.error == STOPPED
        cause = cause_of(step_run.error, step_run.outcome)
        place.attempts.append(
            {
                "attempt": place.numbers[branch],
                "branch": branch or None,
                **script,
                "startedAt": _time(step_run.started_at),
                "finishedAt": _time(step_run.finished_at),
                "outcome": step_run.outcome,
                "error": step_run.error or None,
                "errorCode": letters.reason_of(step_run) or cause,
                "causeCode": cause,
                "logs": log_lines(step_run.logs),
            }
        )


def _script_of(step: StepVersion) -> dict[str, Any]:
    version = step.script_version
    return {"scriptName": version.script_name, "scriptVersion": version.number}


def _script_of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    name, number = (row[field] for field in SCRIPT_OF_ROW)
    return {"scriptName": name, "scriptVersion": number}


def log_lines(logs: str) -> list[dict[str, Any]]:
    """Return the lines of an attempt's log as the API shows them."""
    lines: list[dict[str, Any]] = orjson.loads(logs) if logs else []
    for line in lines:
        if "at" in line:
            line["at"] = rfc3339(datetime.fromtimestamp(line["at"], UTC))
    return lines


def running_attempts(messages: Iterable[Mapping[str, Any]]) -> dict[UUID, RunningAttempt]:
    """Return what is known of scripts that run for long, by the message."""
    held = {m["id"]: m for m in messages if m["consumer_id"] is not None}
    if not held:
        return {}
    return {
        each.message_id: each
        for each in RunningAttempt.objects.filter(pk__in=held)
        # It may be left over from a consumer that has lost the message.
        if each.consumer_id == held[each.message_id]["consumer_id"]
        and each.delivery == held[each.message_id]["deliveries"]
    }


def _running(place: Place, message: Mapping[str, Any], attempt: RunningAttempt) -> dict[str, Any]:
    branch = message["branch"]
    return {
        "attempt": max(place.numbers[branch] + 1, attempt.delivery),
        "branch": branch or None,
        **_script_of_row(message),
        "startedAt": _time(attempt.started_at),
        "finishedAt": None,
        "outcome": RUNNING,
        "error": None,
        "errorCode": None,
        "causeCode": None,
        "logs": log_lines(attempt.logs),
    }


def _step(run: Run, step: StepVersion, place: Place, status: str) -> dict[str, Any]:
    attempts, letter = place.attempts, place.letter
    last = attempts[-1] if attempts else None
    finished_at = last["finishedAt"] if last else letter and _time(letter["dead_at"])
    error = letter["error"] if letter else last and last["error"]
    code = letter["reason"] if letter else last and last["errorCode"]
    cause = letter["cause"] if letter else last and last["causeCode"]
    is_completed = status == Run.Status.COMPLETED
    return {
        "name": step.name,
        "queueName": step.queue_name,
        **(place.script or _script_of(step)),
        "status": status,
        "deliveries": place.deliveries,
        "startedAt": attempts[0]["startedAt"] if attempts else None,
        "finishedAt": finished_at if status in Run.FINISHED else None,
        "error": None if is_completed else error,
        "errorCode": None if is_completed else code,
        "causeCode": None if is_completed else cause,
        "progress": progress_document(place.progress),
        "attempts": attempts,
    }


def statuses_of(run: Run, places: Sequence[Place]) -> list[str]:
    """Return the status of each step of a run, in their order."""
    used = [bool(place.attempts or place.is_busy or place.letter) for place in places]
    statuses = []
    reached, begun, is_busy = True, False, False
    for number, place in enumerate(places):
        begun = begun or bool(place.attempts)
        # A script has gone past it, or the run began behind it; nothing is left to come to it.
        is_left_out = not used[number] and not is_busy and any(used[number:])
        status = SKIPPED if is_left_out else _status(run, place, reached, begun)
        is_busy = is_busy or place.is_busy
        if not is_left_out:
            reached = status == Run.Status.COMPLETED
        statuses.append(status)
    return statuses


def _status(run: Run, place: Place, reached: bool, begun: bool) -> str:
    """Return the status of a step.

    `reached`: the step before is completed; `begun`: the run has been at one before, or at this.
    """
    if place.held or place.waiting:
        return Run.Status.RUNNING if place.held else Run.Status.QUEUED
    if place.letter:
        return Run.Status.FAILED
    if place.attempts and place.attempts[-1]["outcome"] == StepRun.Outcome.COMPLETED:
        return Run.Status.COMPLETED
    if reached and run.status == Run.Status.CANCELLED:
        return Run.Status.CANCELLED
    if place.attempts:
        return Run.Status.FAILED
    return SKIPPED if begun and run.status == Run.Status.COMPLETED else PENDING
