"""Webhooks: what the receivers of the ends of runs are told, and what was told."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from flows.models.flow import Flow
from flows.models.payload_text import PayloadText, ShownText
from flows.models.run import Run
from flows.models.webhook_url import LONGEST_URL

LONGEST_ERROR = 500


class FlowWebhook(models.Model):
    """What the engine keeps for the webhooks of a flow. A flow without webhooks has no row.

    Its address and grant are the flow's own: they are configuration, and this is not.
    """

    flow = models.OneToOneField(
        Flow,
        on_delete=models.CASCADE,
        primary_key=True,
        db_constraint=False,
        related_name="webhook_state",
    )
    encrypted = models.TextField(help_text="The secret that signs, encrypted.")
    previous_encrypted = models.TextField(
        default="", blank=True, help_text="The one before, which signs for a day more."
    )
    rotated_at = models.DateTimeField(null=True)
    gone_url = models.CharField(
        max_length=LONGEST_URL,
        default="",
        blank=True,
        help_text="The address that has answered 410: nothing is sent there any more.",
    )
    gone_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"webhooks of {self.flow}"


class RunCallback(models.Model):
    """The address that a caller gave at the start, to be told the end of the run.

    In a table of its own, so that runs without one pay for none.
    """

    run = models.OneToOneField(
        Run, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="+"
    )
    url = models.CharField(max_length=LONGEST_URL)

    def __str__(self) -> str:
        return f"{self.url} of {self.run_id}"


class WebhookDelivery(models.Model):
    """One end of a run that one receiver is told: stored with the end, sent afterwards.

    While it is sent, `next_attempt_at` is the time at which another process may try: a sender that
    is killed leaves it for that one, and the receiver gets it again with the same id.
    """

    class Kind(models.TextChoices):
        CALLBACK = "callback", "Callback: the address that the start gave"
        FLOW = "flow", "Flow: the webhook of the flow"

    class Status(models.TextChoices):
        PENDING = "pending", "Pending: it is sent, or will be again"
        DELIVERED = "delivered", "Delivered: the receiver has answered 2xx"
        FAILED = "failed", "Failed: it is not tried again"

    # Read by attempts alone, for their keys may be missing.
    PAYLOADS = ("body", *(f"run__{name}" for name in Run.PAYLOADS))

    id = models.UUIDField(primary_key=True)
    run = models.ForeignKey(
        Run,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="webhook_deliveries",
    )
    # No foreign key: a flow that is deleted leaves it as it is.
    flow = models.BigIntegerField(null=True, help_text="The flow whose secret signs it.")
    kind = models.CharField(max_length=16, choices=Kind)
    url = models.CharField(max_length=LONGEST_URL)
    run_status = models.CharField(max_length=16, choices=Run.Status)
    at = models.DateTimeField(help_text="When the run has ended.")
    body = PayloadText(default="", blank=True, help_text="JSON; made at the first attempt.")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    attempted_at = models.DateTimeField("last attempt", null=True)
    answer_status = models.PositiveIntegerField(null=True)
    answer = ShownText(default="", blank=True, help_text="The beginning of the last answer.")
    error = ShownText(default="", blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(F("run"), F("id").desc(), name="webhook_delivery_by_run"),
            # What is to be sent next.
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(status="pending"),
                name="webhook_delivery_due",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
