"""Versions of flows and steps. They never change; a run keeps the version that it started with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q, Value

from flows.models.keep import Keep
from flows.models.queue import Queue
from scripts.models import ScriptVersion

# What a version of a step has of it.
OF_STEP = ("name", "script_version_id", "queue_id", "queue_name", "join", "goes_to", "threads")


class FlowVersion(models.Model):
    """The ordered steps of a flow at one time. It never changes."""

    flow = models.ForeignKey(
        "flows.Flow", null=True, on_delete=models.SET_NULL, related_name="versions"
    )
    flow_name = models.CharField(max_length=100)
    number = models.PositiveIntegerField()
    keep = models.CharField(
        max_length=16, choices=Keep, default=Keep.EVERYTHING, db_default=Keep.EVERYTHING
    )
    may_start = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    created_at = models.DateTimeField(auto_now_add=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["flow_name", "-number"]
        constraints = [
            models.UniqueConstraint("flow", "number", name="one_flow_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.flow_name} v{self.number}"

    @staticmethod
    def of_flow(name: str) -> Q:
        """Return the condition of the versions of a flow that has the name, or had it then."""
        return Q(flow__name=name) | Q(flow_name=name)

    def snapshot(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.steps.order_by("position").values(*OF_STEP)]

    def has_steps(self, steps: list[dict[str, Any]]) -> bool:
        """Say whether these are its steps. Versions of earlier releases know no threads."""
        own = self.snapshot()
        if len(own) != len(steps):
            return False
        for row, step in zip(own, steps, strict=True):
            if row["threads"] is None:
                row["threads"] = step["threads"]
        return own == steps


class StepVersion(models.Model):
    """A step of a flow version. A message points at its current step."""

    flow_version = models.ForeignKey(FlowVersion, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=100)
    script_version = models.ForeignKey(ScriptVersion, on_delete=models.PROTECT, related_name="+")
    queue = models.ForeignKey(Queue, null=True, on_delete=models.SET_NULL, related_name="+")
    queue_name = models.CharField(max_length=100)
    join = models.BooleanField(default=False)
    goes_to = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    # Workers take the threads of the step as it is configured now.
    threads = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["flow_version", "position"]
        constraints = [
            models.UniqueConstraint(
                "flow_version", "position", name="one_step_version_per_position"
            ),
        ]

    def __str__(self) -> str:
        return self.name
