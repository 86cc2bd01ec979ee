"""Start a run. This is the hot path: no serializer, and the payload stays the bytes that came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from flows import engine
from flows.access.rights import Caller, may
from flows.api import parameters
from flows.api.body import json_body
from flows.api.errors import Problem, as_problem
from flows.api.known_starts import note_full_queue, note_start
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import START
from flows.api.rate_headers import headers_after
from flows.api.traces import in_trace_of_caller
from flows.api.view import ApiView, is_about, json_response
from flows.api.waiting import LONGEST_WAIT_SECONDS, done_before, has_waited
from flows.errors import QueueFull
from flows.models import Right, Run
from flows.monitoring.trace import trace_json
from flows.plan import FlowPlan, flow_plan
from flows.starts.rates import rates_of
from flows.starts.refusals import counting_refusals

logger = logging.getLogger(__name__)

START_OPTIONS = frozenset({"priority", "startAt", "deadline", "callbackUrl"})
REPEATED_OPTIONS = frozenset({"label"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A run that a call has stored, with the status that it has, and what else the answer says."""

    started: engine.Started
    status: str = Run.Status.QUEUED
    more: Mapping[str, Any] = field(default_factory=dict)


class StartingView(ApiView):
    """Base of the views that have one run go, and may wait for its end."""

    query_parameters = frozenset({"wait"})
    stored: Stored | None = None

    def answer(self, request: Request, store: Callable[[], Stored]) -> HttpResponse:
        """Store a run, wait for its end where the caller asks for that, and answer."""
        seconds = parameters.seconds(self.query, "wait", LONGEST_WAIT_SECONDS)
        stored: Stored = done_before(request) or store()
        self.stored, started = stored, stored.started
        run_id = started.correlation_id
        if seconds and not has_waited(request, run_id, seconds, stored):
            return HttpResponse()
        run = _run(run_id, seconds > 0) if seconds or started.repeated else None
        if run and seconds and run.status in Run.FINISHED:
            return _about(request, started, json_response(trace_json(run)))
        return accepted(request, replace(stored, status=run.status) if run else stored)

    def handle_exception(self, exc: Exception) -> Any:
        """Answer for a run that is stored, whatever befalls the call while it waits for the end.

        The login of its caller may be over by then, or the database away. Its result is for those
        who are logged in.
        """
        stored = self.stored or done_before(self.request)
        if stored is None:
            return super().handle_exception(exc)
        if as_problem(exc) is None:
            logger.error("A start could not wait for the end of its run", exc_info=exc)
        return accepted(self.request, stored)


class StartView(StartingView):
    query_parameters = StartingView.query_parameters | {"flowName", *START_OPTIONS}
    repeatable_parameters = REPEATED_OPTIONS

    @extend_schema(**START)
    def post(self, request: Request) -> HttpResponse:
        return self.answer(request, lambda: _start(self, request, self.query.get("flowName")))


class FlowStartView(StartingView):
    query_parameters = StartingView.query_parameters | START_OPTIONS
    repeatable_parameters = REPEATED_OPTIONS

    # Documented once for each flow, see openapi/flow_operations.py.
    @extend_schema(exclude=True)
    def post(self, request: Request, name: str) -> HttpResponse:
        return self.answer(request, lambda: _start(self, request, name))


def _about(request: Request, started: engine.Started, response: HttpResponse) -> HttpResponse:
    """Add the headers of an answer to a start."""
    is_about(request, started.correlation_id)
    if started.repeated:
        response["Idempotent-Replayed"] = "true"
    for name, value in headers_after(started.rates).items():
        response[name] = value
    return response


def _start(view: ApiView, request: Request, name: str | None) -> Stored:
    options = start_options(view)
    plan = startable_plan(request.user, name)
    key = idempotency_key(request)
    if key is None:
        plan.require_runnable()
    body = json_body(request._request)
    rates = rates_of(plan, request.user)
    is_plain = not request.query_params.keys() - {"flowName"}
    try:
        with counting_refusals(plan.name), in_trace_of_caller(request.META):
            started = engine.start(
                plan, body, user=request.user, idempotency_key=key, rates=rates, **options
            )
    except QueueFull:
        if is_plain:
            note_full_queue(request, plan.name)
        raise
    if is_plain and not started.repeated:
        note_start(request, started)
    return Stored(replace(started, rates=rates) if rates else started)


def _run(run_id: UUID, with_result: bool) -> Run | None:
    """Return a run that was started; None: it was purged meanwhile."""
    unread = ("cancelled_input",) if with_result else Run.PAYLOADS
    runs = Run.objects.select_related("flow_version", "started_by").defer(*unread)
    return runs.filter(pk=run_id).first()


def start_options(view: ApiView) -> dict[str, Any]:
    """Return what the query asks for as arguments of the engine."""
    query, options = view.query, dict[str, Any]()
    if (priority := parameters.digit(query, "priority")) is not None:
        options["priority"] = priority
    if (start_at := parameters.date_time(query, "startAt")) is not None:
        options["start_at"] = start_at
    if (deadline := parameters.time_or_seconds(query, "deadline")) is not None:
        options["deadline"] = deadline
    if (callback_url := parameters.url(query, "callbackUrl")) is not None:
        options["callback_url"] = callback_url
    if "label" in view.repeated:
        options["labels"] = parameters.labels(view.repeated["label"])
    return options


def runnable_plan(user: Caller, name: str | None) -> FlowPlan:
    """Return the plan of a flow that the user may start and that can be started now.

    Raises Problem, UnknownFlow and FlowNotRunnable.
    """
    plan = startable_plan(user, name)
    plan.require_runnable()
    return plan


def startable_plan(user: Caller, name: str | None) -> FlowPlan:
    """Return the plan of a flow that the user may start. Raises Problem and UnknownFlow."""
    if not name or not name.strip():
        raise Problem.of_parameter("flowName", "is missing or empty")
    plan = flow_plan(name)
    if not may(user, Right.START, plan.flow_id):
        raise Problem("no-role", f"None of your roles may start the flow {plan.name!r}.")
    return plan


def idempotency_key(request: Request) -> str | None:
    """Return the caller's name for a start. Raises Problem."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or engine.is_idempotency_key(key):
        return key
    raise Problem(
        "header-invalid",
        "Idempotency-Key: must be one header of 1 to 255 printable characters without a comma",
    )


def accepted(request: Request, stored: Stored) -> HttpResponse:
    """Answer with the URL of the run."""
    run = stored.started
    path = reverse("api:run", args=[run.correlation_id])
    status_url = request._request.build_absolute_uri(path)
    document = {
        "correlationId": str(run.correlation_id),
        "flowName": run.flow_name,
        "status": stored.status,
        "statusUrl": status_url,
        **stored.more,
    }
    response = json_response(document, status=202, headers={"Location": status_url})
    return _about(request, run, response)
