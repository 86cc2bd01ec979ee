"""Starting a run. The hot path: no serializer, and the payload travels as the bytes that came."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.api.body import json_body
from flows.api.documentation import START
from flows.api.errors import Problem
from flows.api.view import ApiView, json_response
from flows.errors import UnknownFlow
from flows.models import Right
from flows.plan import FlowPlan, flow_plan
from flows.rights import may

IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class StartView(ApiView):
    query_parameters = frozenset({"flowName"})

    @extend_schema(**START)
    def post(self, request: Request) -> HttpResponse:
        name = self.query.get("flowName")
        if not name:
            raise Problem.of_parameter("flowName", "is missing or empty")
        return start(request, name)


class FlowStartView(ApiView):
    # Documented once for each flow, see specification.py.
    @extend_schema(exclude=True)
    def post(self, request: Request, name: str) -> HttpResponse:
        return start(request, name)


def start(request: Request, name: str) -> HttpResponse:
    plan = known_plan(name)
    if not may(request.user, Right.START, plan.flow_id):
        raise Problem("no-role", f"None of your roles may start the flow {plan.name!r}.")
    plan.require_runnable()
    key = _idempotency_key(request)
    user: Any = request.user
    started = engine.start(plan, json_body(request._request), user=user, idempotency_key=key)
    return _accepted(request, started)


def known_plan(name: str) -> FlowPlan:
    """Return the flow's plan. Raises UnknownFlow, also for what no database can look up."""
    if "\0" in name:
        raise UnknownFlow
    return flow_plan(name)


def _idempotency_key(request: Request) -> str | None:
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or IDEMPOTENCY_KEY.fullmatch(key):
        return key
    raise Problem("header-invalid", "Idempotency-Key: must be 1 to 255 printable characters")


def _accepted(request: Request, started: engine.Started) -> HttpResponse:
    path = reverse("api:run", args=[started.correlation_id])
    status_url = request._request.build_absolute_uri(path)
    document = {
        "correlationId": str(started.correlation_id),
        "flowName": started.flow_name,
        "status": "QUEUED",
        "statusUrl": status_url,
    }
    return json_response(document, status=202, headers={"Location": status_url})
