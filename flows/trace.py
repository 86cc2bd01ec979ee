"""The trace of a run: where it is, and every attempt of every step. Read from what is stored."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from flows.models import DeadLetter, Message, Run, StepRun, StepVersion

FINISHED = frozenset({Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED})
# Of a step, beside the statuses of a run: the run has not come to it.
PENDING = "PENDING"

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.05


def trace(run: Run) -> dict[str, Any]:
    """Return the run with its steps and attempts as it is shown to callers."""
    document = _outline(run)
    document["result"] = None if run.result is None else _parse(run.result)
    return document


def trace_json(run: Run, *, indent: bool = False) -> bytes:
    """Return the trace as JSON text; the result is in it digit for digit as the script gave it."""
    document = _outline(run)
    if run.result is not None:
        document["result"] = orjson.Fragment(run.result)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else None)


def wait_until_finished(run_id: UUID, seconds: float) -> bool:
    """Wait until the run has ended, at most so long. Return whether it has."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while not Run.objects.filter(pk=run_id, status__in=FINISHED).exists():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return True


def rfc3339(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _outline(run: Run) -> dict[str, Any]:
    message = Message.objects.filter(pk=run.pk).values("step_id", "consumer_id", "deliveries")
    found = message.first()
    if found is None and run.status not in FINISHED:
        # It has ended since the run was read.
        run.refresh_from_db(
            fields=["status", "started_at", "finished_at", "result", "error", "warnings"]
        )
    steps = _steps(run, found)
    return {
        "correlationId": str(run.pk),
        "flowName": run.flow_version.flow_name,
        "flowVersion": run.flow_version.number,
        "status": run.status,
        "currentStep": _current(run, steps),
        "createdAt": rfc3339(run.created_at),
        "startedAt": rfc3339(run.started_at),
        "finishedAt": rfc3339(run.finished_at),
        "result": None,
        "error": run.error or None,
        "warnings": run.warnings,
        "steps": steps,
    }


def _current(run: Run, steps: list[dict[str, Any]]) -> str | None:
    if run.status == Run.Status.COMPLETED:
        return None
    return next((s["name"] for s in steps if s["status"] != Run.Status.COMPLETED), None)


def _steps(run: Run, message: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    attempts = _attempts(run)
    letters = _open_dead_letters(run)
    entries: list[dict[str, Any]] = []
    reached = True
    for step in _step_versions(run):
        here = message if message and message["step_id"] == step.pk else None
        entry = _step(run, step, attempts[step.pk], here, letters.get(step.pk), reached)
        entries.append(entry)
        reached = entry["status"] == Run.Status.COMPLETED
    return entries


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


def _attempts(run: Run) -> dict[int, list[dict[str, Any]]]:
    """Return the attempts by step, numbered from 1 in the order in which they were stored."""
    attempts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for step_run in StepRun.objects.filter(run=run.pk).order_by("id"):
        of_step = attempts[step_run.step_id]
        of_step.append(
            {
                "attempt": len(of_step) + 1,
                "startedAt": rfc3339(step_run.started_at),
                "finishedAt": rfc3339(step_run.finished_at),
                "outcome": step_run.outcome,
                "error": step_run.error or None,
                "logs": orjson.loads(step_run.logs) if step_run.logs else [],
            }
        )
    return attempts


def _open_dead_letters(run: Run) -> dict[int, Mapping[str, Any]]:
    letters = DeadLetter.objects.open().filter(run=run.pk).order_by("id")
    return {
        letter["step_id"]: letter
        for letter in letters.values("step_id", "error", "deliveries", "dead_at")
    }


def _step(
    run: Run,
    step: StepVersion,
    attempts: list[dict[str, Any]],
    message: Mapping[str, Any] | None,
    letter: Mapping[str, Any] | None,
    reached: bool,
) -> dict[str, Any]:
    status = _status(run, attempts, message, letter, reached)
    last = attempts[-1] if attempts else None
    finished_at = last["finishedAt"] if last else letter and rfc3339(letter["dead_at"])
    error = letter["error"] if letter else last and last["error"]
    # A delivery that is under way, or whose worker died, is counted and has no attempt.
    counted = (message or letter or {"deliveries": 0})["deliveries"]
    return {
        "name": step.name,
        "queueName": step.queue_name,
        "scriptName": step.script_version.script_name,
        "scriptVersion": step.script_version.number,
        "status": status,
        "deliveries": max(len(attempts), counted),
        "startedAt": attempts[0]["startedAt"] if attempts else None,
        "finishedAt": finished_at if status in FINISHED else None,
        "error": None if status == Run.Status.COMPLETED else error,
        "attempts": attempts,
    }


def _status(
    run: Run,
    attempts: list[dict[str, Any]],
    message: Mapping[str, Any] | None,
    letter: Mapping[str, Any] | None,
    reached: bool,
) -> str:
    if message:
        return Run.Status.RUNNING if message["consumer_id"] else Run.Status.QUEUED
    if letter:
        return Run.Status.FAILED
    if attempts and attempts[-1]["outcome"] == StepRun.Outcome.COMPLETED:
        return Run.Status.COMPLETED
    if reached and run.status == Run.Status.CANCELLED:
        return Run.Status.CANCELLED
    return Run.Status.FAILED if attempts else PENDING


def _parse(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    """Return the number, or its digits where it is longer than Python converts."""
    try:
        return int(digits)
    except ValueError:
        return digits
