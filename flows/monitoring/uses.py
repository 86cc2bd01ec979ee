"""Which flows use a script, for the script's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from flows.access.rights import flows_allowed
from flows.models import Right, Step
from scripts.extensions import Use
from scripts.models import Script

HIDDEN = Use("a step of a flow that you may not see", "")


def uses_of(script: Script, user: Any) -> Iterator[Use]:
    """Yield the steps that run the script; one of a flow that the user does not see has no name."""
    seen = set(flows_allowed(user, Right.values).values_list("pk", flat=True))
    steps = Step.objects.filter(script=script).select_related("flow")
    for step in steps.order_by("flow__name", "position"):
        if step.flow_id not in seen:
            yield HIDDEN
            continue
        url = reverse("admin:flows_flow_change", args=[step.flow_id])
        yield Use(f"{step.flow.name}, step {step.name}", url)
