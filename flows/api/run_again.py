"""Start a finished run anew, from its beginning or from one of its steps."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from flows.access.rights import rights_on
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.run_operations import RUN_AGAIN
from flows.api.openapi.schemas import AGAIN_REQUEST
from flows.api.runs import find_run
from flows.api.start import StartingView, Stored, idempotency_key
from flows.models import Run, StepVersion
from flows.run_again import require_right_to_start, run_again
from scripts.protocol.json_text import member_of

BODY = CheckedBody(AGAIN_REQUEST, may_be_empty=True, around=1)


class RunAgainView(StartingView):
    @extend_schema(**RUN_AGAIN)
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.answer(request, lambda: self._run_again(request, id))

    def _run_again(self, request: Request, id: str) -> Stored:
        run = find_run(request, id)
        rights = rights_on(request.user, run.flow_version.flow_id)
        require_right_to_start(rights)
        key = idempotency_key(request)
        raw = json_body(request._request)
        body = BODY.read(raw)
        # The text as the caller wrote it, digit for digit.
        payload = member_of(raw.decode(), "payload").encode() if "payload" in body else None
        step = _step(run, body)
        again = run_again(
            run,
            rights,
            user=request.user,
            step=step,
            payload=payload,
            idempotency_key=key,
            counts=True,
            reason=body.get("reason", ""),
        )
        status = Run.Status.RUNNING if again.is_within else Run.Status.QUEUED
        return Stored(again.started, status, {"repeats": str(run.pk)})


def _step(run: Run, body: dict[str, Any]) -> StepVersion | None:
    """Return the step of the run that is asked for. Raises Problem."""
    if "fromStep" not in body:
        return None
    step = run.flow_version.steps.filter(name=body["fromStep"]).first()
    if step is None:
        fault = {"path": "$.fromStep", "detail": "the run has no step of this name"}
        raise Problem("payload-invalid", "The request is refused.", errors=[fault])
    return step
