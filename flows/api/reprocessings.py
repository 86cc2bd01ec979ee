"""Reprocessing many dead letters by a filter. The body has to match its schema in the document."""

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
from flows.api.openapi.operations import REPROCESS_DEAD_LETTERS
from flows.api.openapi.schemas import REPROCESSING_REQUEST
from flows.api.options import unknown_option
from flows.api.view import ApiView, json_response
from flows.dead_letters import DeadLetterFilter, Matched
from flows.message.envelope import parse_payload
from flows.models import Right
from flows.tasks.reprocessing import SAMPLE, reprocess_many
from scripts.protocol.schema import faults_of

VALIDATOR = jsonschema_rs.validator_for(
    json.dumps(REPROCESSING_REQUEST), validate_formats=True, offline=True
)


class ReprocessDeadLettersView(ApiView):
    @extend_schema(**REPROCESS_DEAD_LETTERS)
    def post(self, request: Request) -> HttpResponse:
        flow_ids = _flows_to_operate(request)
        raw = json_body(request._request)
        _require_valid(parse_payload(raw, "The body"))
        body = orjson.loads(raw)
        found = reprocess_many(
            _filter(body["filter"]),
            user=request.user,
            flow_ids=flow_ids,
            rate_per_second=body.get("ratePerSecond"),
            stop_after_failures=body.get("stopAfterFailures"),
            sample=body.get("sample", SAMPLE),
            newest_script=body.get("newestScript", False),
            dry_run=body.get("dryRun", False),
            reason=body.get("reason", ""),
        )
        return json_response(_document(found), status=202)


def _flows_to_operate(request: Request) -> list[int] | None:
    """Return the flows that the caller may operate; None: all, deleted ones included."""
    if Right.OPERATE in rights_by_flow(request.user)[None]:
        return None
    ids = list(flows_allowed(request.user, {Right.OPERATE}).values_list("pk", flat=True))
    if not ids:
        raise Problem("no-role", "None of your roles may operate a flow.")
    return ids


def _require_valid(body: dict[str, Any]) -> None:
    known = list(REPROCESSING_REQUEST["properties"])
    unknown = [name for name in body if name not in known]
    faults = [{"path": f"$.{name}", "detail": unknown_option(name, known)} for name in unknown]
    faults += faults_of(VALIDATOR, {n: value for n, value in body.items() if n in known})
    if faults:
        raise Problem("payload-invalid", "The request is refused.", errors=faults)


def _filter(given: dict[str, str]) -> DeadLetterFilter:
    return DeadLetterFilter(
        flow_name=given.get("flowName"),
        queue=given.get("queue"),
        reason=given.get("reason"),
        code=given.get("code"),
        dead_after=_date_time(given, "deadAfter"),
        dead_before=_date_time(given, "deadBefore"),
    )


def _date_time(given: dict[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        time = datetime.fromisoformat(given[name].upper())
        time.astimezone(UTC)
        return time
    except (ValueError, OverflowError) as error:
        # RFC 3339 has leap seconds and, by the offset, times outside of the years 1 to 9999;
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
