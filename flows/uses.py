"""Which flows use a script, for the script's page."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import reverse

from flows.models import Step
from scripts.models import Script
from scripts.uses import Use


def uses_of(script: Script) -> Iterator[Use]:
    steps = Step.objects.filter(script=script).select_related("flow")
    for step in steps.order_by("flow__name", "position"):
        url = reverse("admin:flows_flow_change", args=[step.flow_id])
        yield Use(f"{step.flow.name}, step {step.name}", url)
