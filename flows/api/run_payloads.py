"""What a run was started with, what it gave, and what its scripts have logged."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from flows.api import parameters
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.run_operations import GET_RUN_INPUT, GET_RUN_LOGS, GET_RUN_RESULT
from flows.api.runs import find_run
from flows.api.view import ApiView, json_response
from flows.errors import InputNotKept, PayloadErased, RunNotFinished
from flows.models import Run
from flows.models.keep import why_not_kept
from flows.monitoring.run_logs import run_logs
from flows.monitoring.run_story import start_payload

# No log has more lines.
LARGEST_OFFSET = 1_000_000_000


class RunInputView(ApiView):
    @extend_schema(**GET_RUN_INPUT)
    def get(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id)
        _require_not_erased(run)
        payload = start_payload(run)
        if payload is None:
            raise InputNotKept(why_not_kept(run))
        return json_response(payload.encode())


class RunResultView(ApiView):
    @extend_schema(**GET_RUN_RESULT)
    def get(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id, with_result=True)
        if run.status not in Run.FINISHED:
            raise RunNotFinished(f"The run is {run.status}.")
        _require_not_erased(run)
        if run.result is None:
            raise Problem("no-result", f"The run is {run.status}: it has no result.")
        return json_response(run.result.encode())


class RunLogsView(ApiView):
    query_parameters = frozenset({"offset"})

    @extend_schema(**GET_RUN_LOGS)
    def get(self, request: Request, id: str) -> HttpResponse:
        offset = parameters.whole_number(self.query, "offset", 0, LARGEST_OFFSET)
        return json_response(run_logs(find_run(request, id), offset or 0))


def _require_not_erased(run: Run) -> None:
    if run.erased_at:
        raise PayloadErased
