from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Max, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from flows import engine
from flows.access.rights import SEES_FLOW, flows_allowed, rights_by_flow, rights_on
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import GET_FLOW, LIST_FLOWS, PAUSE_FLOW, RESUME_FLOW
from flows.api.pages import PAGE_PARAMETERS, page_by_name
from flows.api.reason import reason_of
from flows.api.view import ApiView, json_response
from flows.models import Flow, Right
from flows.options import can_be_a_name


class FlowsView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_FLOWS)
    def get(self, request: Request) -> HttpResponse:
        def show(flows: Sequence[Flow]) -> list[Any]:
            rights = rights_by_flow(request.user)
            return [_document(request, flow, rights[None] | rights[flow.pk]) for flow in flows]

        flows = _with_steps(flows_allowed(request.user, SEES_FLOW))
        return json_response(page_by_name(request, self.query, flows, show))


class FlowView(ApiView):
    @extend_schema(**GET_FLOW)
    def get(self, request: Request, name: str) -> HttpResponse:
        flow = _find(request, name)
        return json_response(_document(request, flow, rights_on(request.user, flow.pk)))


class PauseFlowView(ApiView):
    @extend_schema(**PAUSE_FLOW)
    def post(self, request: Request, name: str) -> HttpResponse:
        return _set_paused(request, name, engine.pause, "pause")


class ResumeFlowView(ApiView):
    @extend_schema(**RESUME_FLOW)
    def post(self, request: Request, name: str) -> HttpResponse:
        return _set_paused(request, name, engine.resume, "resume")


def _set_paused(request: Request, name: str, act: Callable[..., None], verb: str) -> HttpResponse:
    """Pause or resume the flow. Raises Problem as `_find` does, or where the caller may only see
    it."""
    flow = _find(request, name)
    rights = rights_on(request.user, flow.pk)
    if Right.OPERATE not in rights:
        raise Problem("no-role", f"None of your roles may {verb} the flow {name!r}.")
    act(flow, user=request.user, reason=reason_of(request))
    return json_response(_document(request, flow, rights))


def _find(request: Request, name: str) -> Flow:
    """Return the flow. Raises Problem where there is none that the caller may see."""
    seen = flows_allowed(request.user, SEES_FLOW)
    flow = _with_steps(seen).filter(name=name).first() if can_be_a_name(name) else None
    if flow is None:
        raise Problem("unknown-flow", f"There is no flow {name!r}.")
    return flow


def _with_steps(flows: QuerySet[Flow]) -> QuerySet[Flow]:
    with_version = flows.annotate(version=Max("versions__number"))
    return with_version.prefetch_related("steps__script", "steps__queue")


def _document(request: Request, flow: Any, rights: set[str]) -> dict[str, Any]:
    steps = list(flow.steps.all())
    return {
        "name": flow.name,
        "description": flow.description,
        "active": flow.active,
        "paused": flow.paused,
        "version": flow.version,
        "steps": [
            {
                "name": step.name,
                "scriptName": step.script.name,
                "queueName": step.queue.name,
                "threads": step.threads,
            }
            for step in steps
        ],
        "inputSchema": steps[0].script.input_schema if steps else {},
        "startUrl": _absolute(request, reverse("api:flow-start", args=[flow.name])),
        "rights": sorted(rights),
    }


def _absolute(request: Request, path: str) -> str:
    return request._request.build_absolute_uri(path)
