"""A run as a line of JSON, with all that belongs to it. Payloads stay digit for digit."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from flows.models import (
    DeadLetter,
    Run,
    RunDeadline,
    RunLabel,
    StepRun,
    StepVersion,
    WebhookDelivery,
)
from flows.models.payload_text import as_read

# What is left of an error that was erased.
ERASED = "[erased]"
# No number of the engine's own has as many digits.
LARGE_DIGITS = 19


def records(ids: Sequence[UUID]) -> Iterator[bytes]:
    """Yield a line for each of the runs. The number of queries does not depend on that of runs.

    Raises PayloadUnreadable.
    """
    labels: dict[UUID, dict[str, str]] = defaultdict(dict)
    for run_id, key, value in RunLabel.objects.filter(run__in=ids).values_list(
        "run_id", "key", "value"
    ):
        labels[run_id][key] = value
    deadlines = dict(RunDeadline.objects.filter(pk__in=ids).values_list("pk", "at"))
    attempts, letters, webhooks = (
        _by_run(model, ids) for model in (StepRun, DeadLetter, WebhookDelivery)
    )
    steps = dict(
        StepVersion.objects.filter(
            pk__in={row.step_id for rows in (*attempts.values(), *letters.values()) for row in rows}
        ).values_list("pk", "name")
    )
    runs = Run.objects.filter(pk__in=ids).order_by("pk")
    for run in runs.select_related("flow_version", "started_by", "cancelled_by"):
        document = {
            **_of_run(run),
            "labels": labels[run.pk],
            "deadline": deadlines.get(run.pk),
            "stepRuns": [_of_attempt(each, steps) for each in attempts[run.pk]],
            "deadLetters": [_of_letter(each, steps) for each in letters[run.pk]],
            "webhooks": [_of_webhook(each) for each in webhooks[run.pk]],
        }
        yield orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def erased(document: dict[str, Any], now: datetime) -> bytes:
    """Return the line of a run without its payloads."""
    document |= {"result": None, "cancelledInput": None, "erasedAt": now}
    document["error"] = _erased_text(document["error"])
    for attempt in document["stepRuns"]:
        attempt |= {"input": None, "logs": None, "error": _erased_text(attempt["error"])}
    for letter in document["deadLetters"]:
        letter |= {"body": None, "error": ERASED, "code": None, "details": None}
    for webhook in document["webhooks"]:
        webhook |= {"body": None, "answer": "", "error": ""}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _erased_text(text: str) -> str:
    return ERASED if text else ""


def _by_run(model: Any, ids: Sequence[UUID]) -> dict[UUID, list[Any]]:
    by_run: dict[UUID, list[Any]] = defaultdict(list)
    for row in model.objects.filter(run__in=ids).order_by("id"):
        by_run[row.run_id].append(row)
    return by_run


def _of_run(run: Run) -> dict[str, Any]:
    return {
        "correlationId": run.pk,
        "flowName": run.flow_version.flow_name,
        "flowVersion": run.flow_version.number,
        "status": run.status,
        "createdAt": run.created_at,
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "startedBy": run.started_by and run.started_by.get_username(),
        "cancelledBy": run.cancelled_by and run.cancelled_by.get_username(),
        "parent": run.parent,
        "repeats": run.repeats,
        "erasedAt": run.erased_at,
        "warnings": run.warnings,
        "error": as_read(run.error),
        "result": _json(run.result),
        "cancelledInput": _beginning(run.cancelled_input),
    }


def _of_attempt(attempt: StepRun, steps: dict[int, str]) -> dict[str, Any]:
    # Of a large input only the beginning was kept, which is no JSON.
    is_cut = attempt.input_bytes is not None
    return {
        "step": steps.get(attempt.step_id),
        "branch": attempt.branch,
        "delivery": attempt.delivery,
        "outcome": attempt.outcome,
        "startedAt": attempt.started_at,
        "finishedAt": attempt.finished_at,
        "error": as_read(attempt.error),
        "logs": _json(attempt.logs or None),
        "input": attempt.input if is_cut else _json(attempt.input),
        "inputBytes": attempt.input_bytes,
    }


def _of_letter(letter: DeadLetter, steps: dict[int, str]) -> dict[str, Any]:
    return {
        "step": steps.get(letter.step_id),
        "branch": letter.branch,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "deadAt": letter.dead_at,
        "reprocessedAt": letter.reprocessed_at,
        "discardedAt": letter.discarded_at,
        "error": as_read(letter.error),
        "code": letter.code,
        "details": _json(letter.details),
        "body": _json(letter.body),
    }


def _of_webhook(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "kind": delivery.kind,
        "url": delivery.url,
        "runStatus": delivery.run_status,
        "at": delivery.at,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "body": _json(delivery.body or None),
        "answer": as_read(delivery.answer),
        "error": as_read(delivery.error),
    }


def _beginning(text: str | None) -> orjson.Fragment | str | None:
    """Return JSON as it was written, or as a text where only its beginning was kept."""
    return _json(text) if text is None or _is_json(text) else text


def _is_json(text: str) -> bool:
    """Say whether it is JSON. Its integers may be beyond a double."""
    try:
        document_of(text.encode())
    except (ValueError, RecursionError):
        return False
    return True


def _json(text: str | None) -> orjson.Fragment | None:
    """Return JSON as it was written, on one line: in strings line breaks are escaped."""
    if text is None:
        return None
    return orjson.Fragment(text.replace("\r", " ").replace("\n", " "))


def document_of(line: bytes) -> dict[str, Any]:
    """Return what a line says of its run. Numbers in payloads may be others."""
    try:
        found: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        # What a script gives may have integers beyond a double.
        found = json.loads(line, parse_int=_small)
    return found


def _small(digits: str) -> int:
    return int(digits) if len(digits) < LARGE_DIGITS else 0
