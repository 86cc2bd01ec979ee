"""Erase the payloads of a run, or of all runs with a label."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from flows.access.rights import rights_by_flow, runs_operated
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.run_operations import ERASE_PAYLOADS
from flows.api.openapi.schemas import ERASING_REQUEST
from flows.api.runs import find_run, searching
from flows.api.view import ApiView, json_response
from flows.erasure.erasing import Erased, Selection, preview, require_right_to_erase
from flows.models import Right
from flows.models.run_label import label_fault
from flows.tasks.erasing import erase_many

BODY = CheckedBody(ERASING_REQUEST)


class ErasePayloadsView(ApiView):
    @extend_schema(**ERASE_PAYLOADS)
    def post(self, request: Request) -> HttpResponse:
        if not any(Right.OPERATE in given for given in rights_by_flow(request.user).values()):
            raise Problem("no-role", "None of your roles may erase payloads.")
        body = BODY.read(json_body(request._request))
        selection = _selection(request, body)
        if not body.get("dryRun", False):
            reason = body.get("reason", "")
            return _answer(erase_many(selection, user=request.user, reason=reason))
        runs = runs_operated(request.user)
        with searching():
            require_right_to_erase(selection, runs, request.user)
            return _answer(preview(selection, runs))


def _selection(request: Request, body: dict[str, Any]) -> Selection:
    """Return what the body names. Raises Problem."""
    if ("correlationId" in body) == ("label" in body):
        fault = {"path": "$", "detail": "must have either correlationId or label"}
        raise Problem("payload-invalid", "The request is refused.", errors=[fault])
    if "label" in body:
        return Selection(label=_label(body["label"]))
    run = find_run(request, body["correlationId"])
    if not runs_operated(request.user).filter(pk=run.pk).exists():
        raise Problem("no-role", "None of your roles may erase the payloads of this run.")
    return Selection(run=run.pk)


def _label(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if fault := label_fault(key, value) if colon else "is key:value":
        errors = [{"path": "$.label", "detail": fault}]
        raise Problem("payload-invalid", "The request is refused.", errors=errors)
    return key, value


def _answer(found: Erased) -> HttpResponse:
    document = {
        "runs": found.runs,
        "erased": found.erased,
        "isComplete": found.is_complete,
        "places": dict(found.places),
    }
    return json_response(document, status=202)
