"""Start a finished run anew, from its beginning or from one of its steps."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, rights_on
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody
from flows.api.errors import Problem
from flows.api.openapi.run_operations import RUN_AGAIN
from flows.api.openapi.schemas import AGAIN_REQUEST
from flows.api.run_payloads import input_not_kept, require_finished
from flows.api.runs import find_run
from flows.api.start import accepted
from flows.api.view import ApiView, is_about
from flows.models import Right, Run, StepVersion
from flows.monitoring.run_story import first_step, payload_at
from flows.starts.refusals import counting_refusals
from scripts.protocol.json_text import member_of

BODY = CheckedBody(AGAIN_REQUEST, may_be_empty=True, around=1)


class RunAgainView(ApiView):
    @extend_schema(**RUN_AGAIN)
    def post(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id)
        rights = rights_on(request.user, run.flow_version.flow_id)
        if Right.START not in rights:
            raise Problem("no-role", "None of your roles may start the flow of this run.")
        raw = json_body(request._request)
        body = BODY.read(raw)
        require_finished(run)
        step = _step(run, body)
        newest = step and engine.newest_step(step)
        if newest and newest.position:
            _require_right_within(rights, has_payload="payload" in body)
        payload = _payload(run, step, raw, body)
        with counting_refusals(run.flow_version.flow_name):
            started = engine.start_like(run, payload, step=step, user=request.user)
        status = Run.Status.RUNNING if newest and newest.position else Run.Status.QUEUED
        is_about(request, started.correlation_id)
        return accepted(request, started, status, repeats=str(run.pk))


def _step(run: Run, body: dict[str, Any]) -> StepVersion | None:
    """Return the step of the run from which it starts anew; None: the first one of its flow."""
    if "fromStep" not in body:
        return None if run.repeats is None else first_step(run)
    step = run.flow_version.steps.filter(name=body["fromStep"]).first()
    if step is None:
        fault = {"path": "$.fromStep", "detail": "the run has no step of this name"}
        raise Problem("payload-invalid", "The request is refused.", errors=[fault])
    return step


def _require_right_within(rights: set[str], *, has_payload: bool) -> None:
    """Raise Problem unless the caller may have a run begin within its flow.

    The steps before may be there to refuse it: a right to start alone does not lead past them.
    """
    if has_payload and Right.OPERATE not in rights:
        raise Problem("no-role", "A payload for a later step needs the right to operate the flow.")
    if not rights & SEES_EVERY_RUN:
        raise Problem("no-role", "A later step needs the right to watch or operate the flow, too.")


def _payload(run: Run, step: StepVersion | None, raw: bytes, body: dict[str, Any]) -> bytes:
    """Return the text as the caller wrote it, or what the step got, digit for digit."""
    if "payload" in body:
        return member_of(raw.decode(), "payload").encode()
    began_at = step or first_step(run)
    payload = payload_at(run, began_at) if began_at else None
    if payload is None:
        raise input_not_kept(run)
    return payload.encode()
