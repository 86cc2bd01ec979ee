"""Reprocessing many dead letters by a filter, and what became of it.

The body has to match its schema in the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from flows.access.rights import flows_allowed, rights_by_flow, seen_reprocessings
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody, date_time, filter_of
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import (
    GET_REPROCESSING,
    LIST_REPROCESSINGS,
    REPROCESS_DEAD_LETTERS,
    STOP_REPROCESSING,
)
from flows.api.openapi.schemas import REPROCESSING_REQUEST
from flows.api.pages import PAGE_PARAMETERS, page_of_rows
from flows.api.reason import reason_of
from flows.api.view import ApiView, json_response
from flows.dead_letters import DeadLetterFilter, Matched
from flows.models import Reprocessing, Right
from flows.monitoring.times import rfc3339
from flows.tasks.reprocessing import SAMPLE, reprocess_many, stop

BODY = CheckedBody(REPROCESSING_REQUEST)


# The parts of a filter as the API calls them. Those from `step` on come from the admin alone.
FILTER_FIELDS = {
    "flowName": "flow_name",
    "queue": "queue",
    "reason": "reason",
    "code": "code",
    "deadAfter": "dead_after",
    "deadBefore": "dead_before",
    "stepName": "step",
    "errorClass": "error_class",
    "scriptName": "script",
    "text": "text",
    "ids": "ids",
}


class ReprocessDeadLettersView(ApiView):
    @extend_schema(**REPROCESS_DEAD_LETTERS)
    def post(self, request: Request) -> HttpResponse:
        flow_ids = _flows_to_operate(request)
        body = BODY.read(json_body(request._request))
        found = reprocess_many(
            _filter(filter_of(body)),
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


class ReprocessingsView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_REPROCESSINGS)
    def get(self, request: Request) -> HttpResponse:
        def show(found: Sequence[Reprocessing]) -> list[Any]:
            return [_shown(each) for each in found]

        return json_response(page_of_rows(request, self.query, _seen(request), show))


class ReprocessingView(ApiView):
    @extend_schema(**GET_REPROCESSING)
    def get(self, request: Request, id: int) -> HttpResponse:
        return json_response(_shown(_find(request, id)))


class StopReprocessingView(ApiView):
    @extend_schema(**STOP_REPROCESSING)
    def post(self, request: Request, id: int) -> HttpResponse:
        found = _find(request, id)
        stop(found, user=request.user, reason=reason_of(request))
        return json_response(_shown(found))


def _seen(request: Request) -> QuerySet[Reprocessing]:
    seen = seen_reprocessings(request.user, rights_by_flow(request.user))
    return Reprocessing.objects.filter(seen or Q()).select_related("user")


def _find(request: Request, id: int) -> Reprocessing:
    """Return the reprocessing. Raises Problem where there is none that the caller may see; who
    sees it may stop it."""
    found = _seen(request).filter(pk=id).first()
    if found is None:
        raise Problem("not-found", "There is no reprocessing of this id.")
    return found


def _flows_to_operate(request: Request) -> list[int] | None:
    """Return the flows that the caller may operate; None: all, deleted ones included."""
    if Right.OPERATE in rights_by_flow(request.user)[None]:
        return None
    ids = list(flows_allowed(request.user, {Right.OPERATE}).values_list("pk", flat=True))
    if not ids:
        raise Problem("no-role", "None of your roles may operate a flow.")
    return ids


def _filter(given: dict[str, str]) -> DeadLetterFilter:
    return DeadLetterFilter(
        flow_name=given.get("flowName"),
        queue=given.get("queue"),
        reason=given.get("reason"),
        code=given.get("code"),
        dead_after=date_time(given, "deadAfter"),
        dead_before=date_time(given, "deadBefore"),
    )


def _shown(found: Reprocessing) -> dict[str, Any]:
    return {
        "id": found.pk,
        "state": found.state,
        "note": found.note,
        "filter": _filter_shown(found.filter),
        "newestScript": found.script == Reprocessing.ScriptChoice.NEWEST,
        "ratePerSecond": found.rate_per_second,
        "stopAfterFailures": found.stop_after_failures,
        "sample": found.sample,
        "matched": found.matched,
        "reprocessed": found.reprocessed,
        "completed": found.completed,
        "failedAgain": found.failed_again,
        "cancelled": found.cancelled,
        "refused": found.refused,
        "startedBy": found.user and found.user.get_username(),
        "createdAt": rfc3339(found.created_at),
        "finishedAt": found.finished_at and rfc3339(found.finished_at),
    }


def _filter_shown(stored: dict[str, Any]) -> dict[str, Any]:
    wanted = DeadLetterFilter.of(stored)
    given = {name: getattr(wanted, field) for name, field in FILTER_FIELDS.items()}
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }


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
