"""Runs, what their steps did, and the keys that callers start them with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from flows.disposition import StepOutcome
from flows.models.payload_text import KeyedDigest, PayloadText, ShownText
from flows.models.version import FlowVersion, StepVersion


class Status(models.TextChoices):
    """Of a run, and of a step within it."""

    QUEUED = "QUEUED", "Queued: waits for its first delivery"
    RUNNING = "RUNNING", "Running: at least one delivery was made"
    COMPLETED = "COMPLETED", "Completed: the last step gave the result"
    FAILED = "FAILED", "Failed: a message of it is a dead letter"
    CANCELLED = "CANCELLED", "Cancelled: stopped on demand"


class Run(models.Model):
    """One execution of a flow."""

    Status = Status
    UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING})
    FINISHED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
    # Read only where they are needed: they may be long, and their key may be missing.
    PAYLOADS = ("result", "cancelled_input")

    correlation_id = models.UUIDField("correlation id", primary_key=True)
    # `run_by_flow` begins with it.
    flow_version = models.ForeignKey(
        FlowVersion, on_delete=models.PROTECT, related_name="runs", db_index=False
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Null: no result yet.
    result = PayloadText(null=True, help_text="JSON")
    error = ShownText(default="", blank=True)
    warnings = models.PositiveIntegerField(default=0)
    cancelled_input = PayloadText(
        null=True, help_text="The envelope that waited when the run was cancelled, JSON."
    )
    branches = models.PositiveIntegerField(
        default=1,
        help_text="Messages of it that have not come to their end, dead ones too.",
    )
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    # No foreign key: the other run may be purged first.
    parent = models.UUIDField(null=True, help_text="The run whose script has started it.")
    start_depth = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How many runs are above it, each started by the other."
    )
    repeats = models.UUIDField(null=True, help_text="The run whose payload it was started with.")
    erased_at = models.DateTimeField(
        "erased", null=True, help_text="When its payloads were erased; empty: they were not."
    )

    class Meta:
        ordering = ["-correlation_id"]
        indexes = [
            # Runs of a flow, newest first: a UUIDv7 sorts by time. All of them; the condition keeps
            # PostgreSQL from reading it for an id alone.
            models.Index(
                F("flow_version"),
                F("correlation_id").desc(),
                name="run_by_flow",
                condition=Q(flow_version__isnull=False),
            ),
            models.Index(
                fields=["parent", "correlation_id"],
                condition=Q(parent__isnull=False),
                name="run_by_parent",
            ),
            models.Index(
                fields=["repeats", "correlation_id"],
                condition=Q(repeats__isnull=False),
                name="run_by_repeats",
            ),
        ]

    def __str__(self) -> str:
        return str(self.correlation_id)


class StepRun(models.Model):
    """One delivery of a message to a step's script, with its outcome."""

    Outcome = StepOutcome

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, db_constraint=False, related_name="step_runs"
    )
    step = models.ForeignKey(
        StepVersion,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    delivery = models.PositiveIntegerField(
        default=1, help_text="Which one it was; those whose worker died have left no row."
    )
    outcome = models.CharField(max_length=16, choices=Outcome)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    error = ShownText(default="", blank=True)
    logs = PayloadText(default="", blank=True, help_text="JSON, or empty.")
    # Beside its run, not in a table of its own: that costs the commit a third insert.
    input = PayloadText(
        null=True,
        help_text="The envelope as the step received it, JSON; with the delivery that ended it.",
    )
    input_bytes = models.PositiveIntegerField(
        null=True, help_text="Of the whole input, where only its beginning was kept."
    )
    branch = models.TextField(default="", blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.step} {self.outcome}"


class BranchEnd(models.Model):
    """A branch that has ended, or waits at a join for the others."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="branch_ends")
    branch = models.TextField()
    body = PayloadText(help_text="Its last output, JSON.")

    class Meta:
        constraints = [
            models.UniqueConstraint("run", "branch", name="branch_ends_once"),
        ]

    def __str__(self) -> str:
        return f"{self.branch} of {self.run_id}"


class IdempotencyKey(models.Model):
    """The caller's name for a start: the same key gives the same run."""

    flow_name = models.CharField(max_length=100)
    # Text instead of a foreign key: starts by a command have no user, and NULL differs from NULL.
    caller = models.CharField(
        max_length=64, db_default="", help_text="The user's primary key; empty: a command."
    )
    key = models.CharField(max_length=255)
    # A digest of the whole request, see flows/message/digest.py.
    body_digest = KeyedDigest(max_length=64)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_index=True)
    # What a new key was made of, see flows/starts/conflict.py.
    asked: Any = None

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "flow_name", "caller", "key", name="idempotency_key_once_per_caller"
            ),
        ]

    def __str__(self) -> str:
        return self.key
