"""The payloads of runs on their pages: where they are, and the answers that have them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from flows.access.rights import SEES_EVERY_RUN
from flows.admin.by_role import has_right
from flows.admin.long_texts import SHOWN
from flows.models import DeadLetter, Flow, Message, Run, StepRun
from flows.monitoring.run_story import start_payload
from scripts.admin.json_fields import pretty_json

# Where the input of a step is, by the word in the address.
BODIES: dict[str, tuple[type[Any], str]] = {
    "attempt": (StepRun, "input"),
    "message": (Message, "body"),
    "letter": (DeadLetter, "body"),
}

# What waited when the run was cancelled.
CANCELLED = "cancelled"


def address_of_body(run: Run, kind: str, row: int | str) -> str:
    return reverse("admin:flows_run_body", args=[run.pk, kind, row])


def body_response(run: Run, kind: str, row: str, whole: bool) -> HttpResponse:
    """Return the beginning of a payload as text, or all of it as a file. Raises Http404."""
    text = body_of(run, kind, row)
    if text is None:
        raise Http404
    if whole:
        response = HttpResponse(text, content_type="application/json")
        name = f"run-{run.pk}-{kind}.json"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
    response = HttpResponse(text[:SHOWN], content_type="text/plain; charset=utf-8")
    if len(text) > SHOWN:
        shown, size = filesizeformat(SHOWN), filesizeformat(len(text))
        response["X-Shown"] = f"The first {shown} of {size}.".replace("\xa0", " ")
    return response


def body_of(run: Run, kind: str, row: str) -> str | None:
    """Return a payload of the run: of an attempt, a waiting message, a dead letter …"""
    if kind == "start":
        return start_payload(run)
    if kind == "result":
        return run.result
    if kind == CANCELLED:
        return run.cancelled_input
    if kind not in BODIES:
        return None
    model, field = BODIES[kind]
    try:
        found = model.objects.filter(run=run.pk, pk=row)
        return found.values_list(field, flat=True).first()
    except (ValueError, ValidationError, OverflowError):
        return None


def like_url(run: Run) -> str:
    """Return the address of the flow's start form, filled in with the payload of the run."""
    url = reverse("admin:flows_flow_start", args=[run.flow_version.flow_id])
    return f"{url}?{urlencode({'like': run.pk})}"


def payload_like(request: HttpRequest, flow: Flow) -> str | None:
    """Return the payload of the run that the new one is to be like, if the user sees it."""
    if not has_right(request, SEES_EVERY_RUN, flow.pk):
        return None
    try:
        run = Run.objects.filter(flow_version__flow=flow, pk=request.GET.get("like", "")).first()
    except ValidationError:
        return None
    payload = run and start_payload(run)
    return pretty_json(payload) if payload else None
