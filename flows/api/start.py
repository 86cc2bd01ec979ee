"""Start a run. This is the hot path: no serializer, and the payload stays the bytes that came."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.access.rights import may
from flows.api import parameters
from flows.api.body import json_body
from flows.api.errors import Problem
from flows.api.known_starts import note_start
from flows.api.openapi.operations import START
from flows.api.view import ApiView, json_response
from flows.models import Right
from flows.plan import FlowPlan, flow_plan
from flows.starts.refusals import counting_refusals

START_OPTIONS = frozenset({"priority", "startAt", "deadline"})
REPEATED_OPTIONS = frozenset({"label"})


class StartView(ApiView):
    query_parameters = frozenset({"flowName", *START_OPTIONS})
    repeatable_parameters = REPEATED_OPTIONS

    @extend_schema(**START)
    def post(self, request: Request) -> HttpResponse:
        return start(request, self.query.get("flowName"), start_options(self))


class FlowStartView(ApiView):
    query_parameters = START_OPTIONS
    repeatable_parameters = REPEATED_OPTIONS

    # Documented once for each flow, see openapi/flow_operations.py.
    @extend_schema(exclude=True)
    def post(self, request: Request, name: str) -> HttpResponse:
        return start(request, name, start_options(self))


def start(request: Request, name: str | None, options: dict[str, Any]) -> HttpResponse:
    plan = runnable_plan(request, name)
    key = _idempotency_key(request)
    body = json_body(request._request)
    with counting_refusals(plan.name):
        started = engine.start(plan, body, user=request.user, idempotency_key=key, **options)
    response = accepted(request, started)
    if not (started.repeated or options):
        note_start(request.META, request.successful_authenticator, request.auth, started)
    if started.repeated:
        response["Idempotent-Replayed"] = "true"
    return response


def start_options(view: ApiView) -> dict[str, Any]:
    """Return what the query asks for as arguments of the engine."""
    query, options = view.query, dict[str, Any]()
    if (priority := parameters.digit(query, "priority")) is not None:
        options["priority"] = priority
    if (start_at := parameters.date_time(query, "startAt")) is not None:
        options["start_at"] = start_at
    if (deadline := parameters.time_or_seconds(query, "deadline")) is not None:
        options["deadline"] = deadline
    if "label" in view.repeated:
        options["labels"] = parameters.labels(view.repeated["label"])
    return options


def runnable_plan(request: Request, name: str | None) -> FlowPlan:
    """Return the plan of a flow that the caller may start and that can be started now."""
    if not name or not name.strip():
        raise Problem.of_parameter("flowName", "is missing or empty")
    plan = flow_plan(name)
    if not may(request.user, Right.START, plan.flow_id):
        raise Problem("no-role", f"None of your roles may start the flow {plan.name!r}.")
    plan.require_runnable()
    return plan


def _idempotency_key(request: Request) -> str | None:
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or engine.is_idempotency_key(key):
        return key
    raise Problem(
        "header-invalid",
        "Idempotency-Key: must be one header of 1 to 255 printable characters without a comma",
    )


def accepted(request: Request, run: engine.Started, status: str = "QUEUED") -> HttpResponse:
    """Answer with the URL of the run."""
    path = reverse("api:run", args=[run.correlation_id])
    status_url = request._request.build_absolute_uri(path)
    document = {
        "correlationId": str(run.correlation_id),
        "flowName": run.flow_name,
        "status": status,
        "statusUrl": status_url,
    }
    return json_response(document, status=202, headers={"Location": status_url})
