from __future__ import annotations

import re
from typing import NoReturn
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows.api.documentation import GET_RUN
from flows.api.errors import Problem
from flows.api.view import ApiView, json_response
from flows.models import Run
from flows.rights import may_read
from flows.trace import trace_json, wait_until_finished

LONGEST_WAIT_SECONDS = 60.0
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class RunView(ApiView):
    query_parameters = frozenset({"wait"})

    @extend_schema(**GET_RUN)
    def get(self, request: Request, id: str) -> HttpResponse:
        seconds = self._wait_seconds()
        run = _find(id)
        if not may_read(request.user, run):
            raise Problem("no-role", "None of your roles may see this run.")
        if seconds:
            wait_until_finished(run.pk, seconds)
            run = _find(id)
        return json_response(trace_json(run))

    def _wait_seconds(self) -> float:
        text = self.query.get("wait", "0")
        if not NUMBER.fullmatch(text):
            raise Problem.of_parameter("wait", "must be a number of seconds, 0 or more")
        return min(float(text), LONGEST_WAIT_SECONDS)


def _find(text: str) -> Run:
    run = Run.objects.select_related("flow_version").filter(pk=_parse(text)).first()
    return run or _refuse()


def _parse(text: str) -> UUID:
    try:
        correlation_id = UUID(text)
    except ValueError:
        _refuse()
    # Python also reads braces, "urn:" and an id without dashes; those are no addresses of runs.
    return correlation_id if str(correlation_id) == text.lower() else _refuse()


def _refuse() -> NoReturn:
    raise Problem("not-found", "There is no run of this id.")
