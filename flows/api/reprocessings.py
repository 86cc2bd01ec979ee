"""Reprocessing many dead letters by a filter. Its schema is what the body is held against."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import orjson
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows.access.rights import flows_allowed, rights_by_flow
from flows.api.body import json_body
from flows.api.errors import Problem
from flows.api.openapi.operations import (
    CHALLENGE,
    GUARDED,
    RECEIVED,
    RETRY_AFTER,
    answer,
    answered_header,
    refusals,
)
from flows.api.openapi.schemas import COUNT, TEXT, Schema, listed, record
from flows.api.view import ApiView, json_response
from flows.dead_letters import DeadLetterFilter, Matched
from flows.message.envelope import parse_payload
from flows.models import DeadLetter, Reprocessing, Right
from flows.tasks.reprocessing import SAMPLE, reprocess_many
from scripts.protocol.schema import faults_of

NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
MOST: Schema = {"type": "integer", "maximum": 2_000_000_000}
MOMENT: Schema = {"type": "string", "format": "date-time"}

FILTER = record(
    {
        "flowName": {**NAME, "description": "Of this flow."},
        "queue": {**NAME, "description": "That died in this queue."},
        "reason": {"type": "string", "enum": DeadLetter.Reason.values},
        "deadAfter": {**MOMENT, "description": "That died then or later."},
        "deadBefore": {**MOMENT, "description": "That died earlier."},
    },
    optional=("flowName", "queue", "reason", "deadAfter", "deadBefore"),
    additionalProperties=False,
    description="Which open dead letters: those that match every part; empty: all.",
)

REQUEST = record(
    {
        "filter": FILTER,
        "dryRun": {"type": "boolean", "default": False, "description": "Count and do nothing."},
        "ratePerSecond": {
            "type": ["number", "null"],
            "minimum": 0.001,
            "maximum": 1_000_000,
            "description": "Put back at most so many a second; null: as fast as it goes.",
        },
        "stopAfterFailures": {
            **MOST,
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Stop when so many have failed again; null: go on.",
        },
        "sample": {
            **MOST,
            "minimum": 0,
            "default": SAMPLE,
            "description": "After so many wait until their runs have ended; 0: do not wait.",
        },
        "newestScript": {
            "type": "boolean",
            "default": False,
            "description": "Go on with the flow as it is now, not as it was for the run.",
        },
    },
    optional=("dryRun", "ratePerSecond", "stopAfterFailures", "sample", "newestScript"),
    additionalProperties=False,
)

ANSWER = record(
    {
        "id": {"type": ["integer", "null"], "description": "Null in a dry run."},
        "state": {"type": ["string", "null"], "enum": [*Reprocessing.State.values, None]},
        "matched": COUNT,
        "reprocessed": COUNT,
        "completed": COUNT,
        "failedAgain": COUNT,
        "steps": listed(
            record({"flowName": TEXT, "stepName": TEXT, "queueName": TEXT, "matched": COUNT})
        ),
    },
    description="What the filter found, in all and by step, and how far it is.",
)

EXAMPLE = {
    "filter": {"flowName": "loan-application", "reason": "exhausted"},
    "ratePerSecond": 20,
    "stopAfterFailures": 5,
}
ANSWERED = {
    "id": 4,
    "state": "RUNNING",
    "matched": 812,
    "reprocessed": 0,
    "completed": 0,
    "failedAgain": 0,
    "steps": [
        {
            "flowName": "loan-application",
            "stepName": "decide",
            "queueName": "decisions",
            "matched": 812,
        }
    ],
}

REPROCESS_DEAD_LETTERS: dict[str, Any] = {
    "operation_id": "reprocessDeadLetters",
    "tags": ["dead letters"],
    "summary": "Reprocess many dead letters",
    "description": (
        "Puts every open dead letter that matches back at the step where it failed, one after the"
        " other, each exactly once; the answer comes before the first. Those of flows that the"
        " caller may not operate are left out. A first sample has to end before the rest follows,"
        " and after `stopAfterFailures` it stops by itself. A full queue makes it wait."
    ),
    "parameters": [answered_header("Retry-After", int, RETRY_AFTER, 503), CHALLENGE],
    "request": {"application/json": REQUEST},
    "responses": {
        (202, "application/json"): answer("It is stored, or only counted.", ANSWER, ANSWERED),
        **refusals(
            "payload-invalid",
            *GUARDED,
            "no-role",
            "csrf-failed",
            *RECEIVED,
            "payload-too-large",
            "unsupported-media-type",
            "not-acceptable",
        ),
    },
}

VALIDATOR = jsonschema_rs.validator_for(json.dumps(REQUEST), validate_formats=True, offline=True)


class ReprocessDeadLettersView(ApiView):
    @extend_schema(**REPROCESS_DEAD_LETTERS)
    def post(self, request: Request) -> HttpResponse:
        flow_ids = _flows_to_operate(request)
        raw = json_body(request._request)
        _require_valid(parse_payload(raw))
        body = orjson.loads(raw)
        user: Any = request.user
        found = reprocess_many(
            _filter(body["filter"]),
            user=user,
            flow_ids=flow_ids,
            rate_per_second=body.get("ratePerSecond"),
            stop_after_failures=body.get("stopAfterFailures"),
            sample=body.get("sample", SAMPLE),
            newest_script=body.get("newestScript", False),
            dry_run=body.get("dryRun", False),
        )
        return json_response(_document(found), status=202)


def _flows_to_operate(request: Request) -> list[int] | None:
    """Return the flows that the caller may operate; None: all, those that are gone included."""
    if Right.OPERATE in rights_by_flow(request.user)[None]:
        return None
    ids = list(flows_allowed(request.user, {Right.OPERATE}).values_list("pk", flat=True))
    if not ids:
        raise Problem("no-role", "None of your roles may operate a flow.")
    return ids


def _require_valid(body: dict[str, Any]) -> None:
    if faults := faults_of(VALIDATOR, body):
        raise Problem("payload-invalid", "The request is refused.", errors=faults)


def _filter(given: dict[str, str]) -> DeadLetterFilter:
    return DeadLetterFilter(
        flow_name=given.get("flowName"),
        queue=given.get("queue"),
        reason=given.get("reason"),
        dead_after=_moment(given, "deadAfter"),
        dead_before=_moment(given, "deadBefore"),
    )


def _moment(given: dict[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        moment = datetime.fromisoformat(given[name].upper())
        moment.astimezone(UTC)
        return moment
    except (ValueError, OverflowError) as error:
        # RFC 3339 has leap seconds and, by the offset, moments outside of the years 1 to 9999;
        # Python has neither.
        fault = {"path": f"$.filter.{name}", "detail": str(error)}
        raise Problem("payload-invalid", "The request is refused.", errors=[fault]) from error


def _document(found: Matched) -> dict[str, Any]:
    made = found.reprocessing
    return {
        "id": made and made.pk,
        "state": made and made.state,
        "matched": found.matched,
        "reprocessed": made.reprocessed if made else 0,
        "completed": made.completed if made else 0,
        "failedAgain": made.failed_again if made else 0,
        "steps": [
            {
                "flowName": step.flow_name,
                "stepName": step.step_name,
                "queueName": step.queue_name,
                "matched": step.matched,
            }
            for step in found.steps
        ],
    }
