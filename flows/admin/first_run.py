"""The guide of home: from an empty database to the first complete run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from flows.admin.by_role import configures
from flows.admin.display import list_of, page_of
from flows.models import Flow, RoleMapping, Run
from flows.monitoring.overview import FlowState, Overview

# With more runs than this the guide has done its work.
FIRST_RUNS = 10


@dataclass(frozen=True)
class Task:
    """A step of the guide. `url` is empty where an earlier one comes first."""

    title: str
    text: str
    verb: str
    url: str
    is_done: bool


def guide(request: HttpRequest, seen: Overview) -> list[Task]:
    """Return what is to do, for users who configure every flow; nothing once it is done."""
    if not configures(request, None) or seen.accepted > FIRST_RUNS:
        return []
    tasks = [
        _flow(seen.flows),
        _start(seen.flows, seen.accepted > 0),
        _complete(seen.completed > 0),
        _role(),
    ]
    return [] if all(task.is_done for task in tasks) else tasks


def _flow(flows: list[FlowState]) -> Task:
    empty = next((flow for flow in flows if not flow.steps), None)
    return Task(
        "Make a flow",
        "A flow takes each payload through its steps, one script after the other. Each step is made"
        " with its script and its queue.",
        "Add a step" if empty else "Make a flow",
        page_of(Flow(pk=empty.pk)) if empty else reverse("admin:flows_flow_add"),
        any(flow.steps for flow in flows),
    )


def _start(flows: list[FlowState], is_done: bool) -> Task:
    ready = next((flow for flow in flows if flow.steps and flow.active), None)
    return Task(
        f"Start {ready.name if ready else 'it'}",
        "With a payload, from its start form. Its page also has calls for curl, Python, JavaScript"
        " and Camel.",
        "Open the start form",
        _address("flows_flow_start", ready.pk) if ready else "",
        is_done,
    )


def _complete(is_done: bool) -> Task:
    return Task(
        "See a run complete",
        "Its page shows each step with its input and output, its logs and its time. What fails for"
        " good waits as a dead letter until you decide.",
        "See the runs",
        list_of(Run),
        is_done,
    )


def _role() -> Task:
    return Task(
        "Give others their rights",
        "A role may start, watch, operate or configure a flow, in the API and on these pages.",
        "Open the matrix of rights",
        _address("flows_rolemapping_matrix"),
        RoleMapping.objects.exists(),
    )


def _address(name: str, *args: Any) -> str:
    try:
        return reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return ""
