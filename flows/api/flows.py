from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.db.models import Max, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows.api.documentation import GET_FLOW, LIST_FLOWS
from flows.api.errors import Problem
from flows.api.view import ApiView, json_response
from flows.models import Flow
from flows.rights import SEES_FLOW, flows_allowed, rights_by_flow, rights_on

PAGE_SIZE = 100


class FlowsView(ApiView):
    query_parameters = frozenset({"cursor"})

    @extend_schema(**LIST_FLOWS)
    def get(self, request: Request) -> HttpResponse:
        cursor = self.query.get("cursor", "")
        if "\0" in cursor:
            raise Problem.of_parameter("cursor", "is none that a page gave")
        flows = _with_steps(flows_allowed(request.user, SEES_FLOW)).filter(name__gt=cursor)
        page = list(flows[: PAGE_SIZE + 1])
        rights = rights_by_flow(request.user)
        shown = [
            _document(request, flow, rights[None] | rights[flow.pk]) for flow in page[:PAGE_SIZE]
        ]
        following = _next_url(request, page[PAGE_SIZE - 1]) if len(page) > PAGE_SIZE else None
        return json_response({"results": shown, "next": following})


class FlowView(ApiView):
    @extend_schema(**GET_FLOW)
    def get(self, request: Request, name: str) -> HttpResponse:
        flow = None if "\0" in name else _with_steps(Flow.objects.all()).filter(name=name).first()
        if flow is None:
            raise Problem("unknown-flow", f"There is no flow {name!r}.")
        rights = rights_on(request.user, flow.pk)
        if not rights & SEES_FLOW:
            raise Problem("no-role", f"None of your roles may see the flow {name!r}.")
        return json_response(_document(request, flow, rights))


def _with_steps(flows: QuerySet[Flow]) -> QuerySet[Flow]:
    return (
        flows.annotate(version=Max("versions__number"))
        .prefetch_related("steps__script", "steps__queue")
        .order_by("name")
    )


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


def _next_url(request: Request, last: Flow) -> str:
    return _absolute(request, f"{reverse('api:flows')}?{urlencode({'cursor': last.name})}")


def _absolute(request: Request, path: str) -> str:
    return request._request.build_absolute_uri(path)
