from __future__ import annotations

from django.db import models

from flows.models.payload_text import OptionalText


class RunningAttempt(models.Model):
    """A delivery whose script has been running for a second or more, and what it has said so far.

    Its consumer writes it with its heartbeats and deletes it with the commit of the delivery. It is
    of interest only while that consumer holds the message. No reference is checked, as with
    messages.
    """

    message_id = models.UUIDField(primary_key=True)
    consumer_id = models.BigIntegerField()
    delivery = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    logs = OptionalText(default="", blank=True, help_text="JSON, or empty.")
    progress = OptionalText(
        default="",
        db_default="",
        blank=True,
        help_text="JSON with done, total, text, at; or empty.",
    )

    class Meta:
        ordering = ["message_id"]
        indexes = [models.Index("consumer_id", name="running_attempt_of_consumer")]

    def __str__(self) -> str:
        return str(self.message_id)
