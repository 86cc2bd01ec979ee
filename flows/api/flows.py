from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Max, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from flows.access.rights import SEES_FLOW, flows_allowed, rights_by_flow, rights_on
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import GET_FLOW, LIST_FLOWS
from flows.api.pages import page_by_name
from flows.api.view import ApiView, json_response
from flows.models import Flow
from flows.options import can_be_a_name


class FlowsView(ApiView):
    query_parameters = frozenset({"cursor"})

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
        seen = flows_allowed(request.user, SEES_FLOW)
        flow = _with_steps(seen).filter(name=name).first() if can_be_a_name(name) else None
        if flow is None:
            raise Problem("unknown-flow", f"There is no flow {name!r}.")
        rights = rights_on(request.user, flow.pk)
        return json_response(_document(request, flow, rights))


def _with_steps(flows: QuerySet[Flow]) -> QuerySet[Flow]:
    with_version = flows.annotate(version=Max("versions__number"))
    return with_version.prefetch_related("steps__script", "steps__queue")


def _document(request: Request, flow: Any, rights: set[str]) -> dict[str, Any]:
    steps = list(flow.steps.all())
    return {
        "name": flow.name,
        "description": flow.description,
        "active": flow.active,
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
