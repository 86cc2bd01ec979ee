"""The schedules of a flow: see them, set and remove one, pause and resume it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from flows import engine
from flows.access import audit
from flows.access.rights import SEES_EVERY_RUN, SEES_FLOW, flows_allowed, may, rights_on
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.schedule_operations import (
    GET_SCHEDULE,
    LIST_SCHEDULES,
    PAUSE_SCHEDULE,
    REMOVE_SCHEDULE,
    RESUME_SCHEDULE,
    SET_SCHEDULE,
)
from flows.api.openapi.schemas import SCHEDULE_REQUEST
from flows.api.pages import PAGE_PARAMETERS, page_by_name
from flows.api.reason import reason_of
from flows.api.view import ApiView, json_response, no_content
from flows.configuration.schedules import faults_of, fill_schedule
from flows.models import Flow, FlowSchedule, Right
from flows.models.cron_times import CronInvalid
from flows.monitoring.times import rfc3339
from flows.options import can_be_a_name
from scripts.names import address_fault
from scripts.protocol.json_text import member_of
from scripts.protocol.strict_json import read_exactly

BODY = CheckedBody(SCHEDULE_REQUEST)


class SchedulesView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_SCHEDULES)
    def get(self, request: Request, name: str) -> HttpResponse:
        schedules = _schedules(find_flow(request, name))
        return json_response(page_by_name(request, self.query, schedules, _documents))


class ScheduleView(ApiView):
    @extend_schema(**GET_SCHEDULE)
    def get(self, request: Request, name: str, schedule: str) -> HttpResponse:
        return json_response(_document(find(find_flow(request, name), schedule)))

    @extend_schema(**SET_SCHEDULE)
    def put(self, request: Request, name: str, schedule: str) -> HttpResponse:
        flow = find_flow(request, name)
        _require(request, Right.CONFIGURE, flow)
        raw = json_body(request._request)
        entry = BODY.read(raw) | {"name": schedule}
        if "payload" in entry:
            # The text as the caller wrote it, digit for digit.
            entry["payload"] = member_of(raw.decode(), "payload")
        _require_valid(entry)
        with transaction.atomic(), audit.acting(user=request.user):
            # Of two callers that make it, the second changes what the first has made.
            Flow.objects.select_for_update(no_key=True).get(pk=flow.pk)
            known = _schedules(flow).filter(name=schedule).first()
            if known is None and (fault := address_fault(schedule)):
                raise Problem("payload-invalid", f"The name of a schedule {fault}.")
            row = fill_schedule(known or FlowSchedule(flow=flow), entry)
            row.save()
        return json_response(_document(find(flow, schedule)), status=200 if known else 201)

    @extend_schema(**REMOVE_SCHEDULE)
    def delete(self, request: Request, name: str, schedule: str) -> HttpResponse:
        flow = find_flow(request, name)
        _require(request, Right.CONFIGURE, flow)
        with audit.acting(user=request.user):
            find(flow, schedule).delete()
        return no_content()


class PauseScheduleView(ApiView):
    @extend_schema(**PAUSE_SCHEDULE)
    def post(self, request: Request, name: str, schedule: str) -> HttpResponse:
        return _set_active(request, name, schedule, active=False)


class ResumeScheduleView(ApiView):
    @extend_schema(**RESUME_SCHEDULE)
    def post(self, request: Request, name: str, schedule: str) -> HttpResponse:
        return _set_active(request, name, schedule, active=True)


def find_flow(request: Request, name: str) -> Flow:
    """Return the flow. Raises Problem where there is none that the caller may see, or where the
    caller may start it alone."""
    flows = flows_allowed(request.user, SEES_FLOW)
    flow = flows.filter(name=name).first() if can_be_a_name(name) else None
    if flow is None:
        raise Problem("unknown-flow", f"There is no flow {name!r}.")
    if not rights_on(request.user, flow.pk) & SEES_EVERY_RUN:
        raise Problem("no-role", f"None of your roles may watch or operate the flow {name!r}.")
    return flow


def find(flow: Flow, name: str) -> FlowSchedule:
    """Return the schedule. Raises Problem where the flow has none of this name."""
    found = _schedules(flow).filter(name=name).first() if can_be_a_name(name) else None
    if found is None:
        raise Problem("not-found", f"The flow has no schedule {name!r}.")
    return found


def _set_active(request: Request, name: str, schedule: str, *, active: bool) -> HttpResponse:
    flow = find_flow(request, name)
    _require(request, Right.OPERATE, flow)
    reason = reason_of(request)
    row = find(flow, schedule)
    try:
        with suppress(ObjectDoesNotExist):
            engine.set_active(row, active, user=request.user, reason=reason)
    except CronInvalid as error:
        # Of a time zone that this server does not have, say.
        change = "Set the schedule with another cron or timeZone before you resume it."
        raise Problem("payload-invalid", f"{error} {change}") from error
    return json_response(_document(find(flow, schedule)))


def _require(request: Request, right: str, flow: Flow) -> None:
    if not may(request.user, right, flow.pk):
        raise Problem("no-role", f"None of your roles may {right} the flow {flow.name!r}.")


def _require_valid(entry: dict[str, Any]) -> None:
    """Raise Problem, which names each fault that the schema of the body does not see."""
    faults = [{"path": f"$.{key}", "detail": detail} for key, detail in faults_of(entry)]
    if faults:
        raise Problem("payload-invalid", "The schedule is refused.", errors=faults)


def _schedules(flow: Flow) -> QuerySet[FlowSchedule]:
    return FlowSchedule.objects.filter(flow=flow).select_related("flow", "state")


def _documents(schedules: Sequence[FlowSchedule]) -> list[dict[str, Any]]:
    return [_document(each) for each in schedules]


def _document(schedule: FlowSchedule) -> dict[str, Any]:
    state = schedule.state
    return {
        "flowName": schedule.flow.name,
        "name": schedule.name,
        "active": schedule.active,
        "cron": schedule.cron,
        "timeZone": schedule.time_zone,
        "payload": read_exactly(schedule.payload),
        "labels": schedule.labels,
        "priority": schedule.priority,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "jitterSeconds": schedule.jitter.total_seconds(),
        "nextAt": state.at and rfc3339(state.at),
        "lastTime": state.last_time and rfc3339(state.last_time),
        "lastCorrelationId": state.last_run and str(state.last_run),
        "problem": state.problem or None,
    }
