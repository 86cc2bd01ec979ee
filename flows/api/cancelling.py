"""Cancel many runs by a filter. The body has to match its schema in the document."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from flows.access.rights import rights_by_flow
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody, date_time, filter_of, require_not_all
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.run_operations import CANCEL_RUNS
from flows.api.openapi.schemas import CANCELLING_REQUEST
from flows.api.runs import searching
from flows.api.view import ApiView, json_response
from flows.models import Right
from flows.run_filter import RunFilter
from flows.tasks.cancelling import Cancelling, cancel_many, count_to_cancel

BODY = CheckedBody(CANCELLING_REQUEST)


class CancelRunsView(ApiView):
    @extend_schema(**CANCEL_RUNS)
    def post(self, request: Request) -> HttpResponse:
        _require_some_right(request)
        body = BODY.read(json_body(request._request))
        wanted = _filter(filter_of(body))
        if wanted.is_empty:
            require_not_all(body, "cancel")
        with searching():
            by_flow = count_to_cancel(wanted, request.user)
        if body.get("dryRun", False):
            return json_response(_document(Cancelling(by_flow)), status=202)
        done = cancel_many(wanted, by_flow, user=request.user, reason=body.get("reason", ""))
        return json_response(_document(done), status=202)


def _require_some_right(request: Request) -> None:
    if not any(
        given & {Right.OPERATE, Right.START} for given in rights_by_flow(request.user).values()
    ):
        raise Problem("no-role", "None of your roles may cancel a run.")


def _filter(given: dict[str, Any]) -> RunFilter:
    return RunFilter(
        flow_name=given.get("flowName"),
        statuses=given.get("status", []),
        labels=given.get("labels", {}),
        parent=UUID(given["parent"]) if "parent" in given else None,
        started_by=given.get("startedBy"),
        created_after=date_time(given, "createdAfter"),
        created_before=date_time(given, "createdBefore"),
    )


def _document(done: Cancelling) -> dict[str, Any]:
    return {
        "matched": done.matched,
        "cancelled": done.cancelled,
        "isComplete": done.is_complete,
        "flows": [{"flowName": name, "matched": count} for name, count in done.by_flow.items()],
    }
