from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from flows.models.dead_letter import DeadLetter


class Reprocessing(models.Model):
    """Reprocesses many dead letters one after the other, in the order of their ids.

    Counts and cursor change in the same transaction as the dead letters. So after a kill of its
    worker it continues where it was.
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING", "Running: dead letters are reprocessed, or some of their runs go on"
        STOPPED = "STOPPED", "Stopped: no more are reprocessed, the note says why"
        FINISHED = "FINISHED", "Finished: all were reprocessed and their runs have ended"

    class ScriptChoice(models.TextChoices):
        OWN = "own", "own: the version that the run has"
        NEWEST = "newest", "newest: the flow as it is now"

    filter = models.JSONField(
        default=dict, help_text="Which dead letters it reprocesses, as in the API."
    )
    flow_ids = models.JSONField(
        null=True, help_text="Only dead letters of these flows; null: of all flows."
    )
    script = models.CharField(max_length=16, choices=ScriptChoice, default=ScriptChoice.OWN)
    rate_per_second = models.FloatField(null=True, help_text="Null: as fast as it goes.")
    stop_after_failures = models.PositiveIntegerField(
        null=True, help_text="It stops when this number have failed again."
    )
    sample = models.PositiveIntegerField(
        default=0, help_text="After this number it waits until their runs have ended."
    )

    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    note = models.TextField(default="", blank=True, help_text="Why it stopped or waits.")
    matched = models.PositiveIntegerField(default=0, help_text="Dead letters when it was made.")
    reprocessed = models.PositiveIntegerField(default=0, help_text="Requeued, whatever the result.")
    completed = models.PositiveIntegerField(default=0)
    failed_again = models.PositiveIntegerField(default=0)
    failed_before = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Those that had failed again when it last went on."
    )
    cancelled = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(
        default=0, help_text="Dead letters without a step or queue."
    )
    last_refusal = models.TextField(default="", blank=True)
    cursor = models.BigIntegerField(default=0, help_text="The last dead letter it has dealt with.")
    last_id = models.BigIntegerField(help_text="Later dead letters are not part of it.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, help_text="When the last of its runs had ended.")

    fencing_token = models.BigIntegerField(
        default=0, help_text="A task that was queued with an older one writes nothing."
    )
    due_at = models.DateTimeField(
        help_text="If no worker has touched it by then, another task is queued."
    )
    recent_starts = models.TextField(
        default="",
        blank=True,
        help_text="The recent starts that the rate limit counts, as JSON.",
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(rate_per_second=None) | Q(rate_per_second__gt=0),
                name="reprocessing_rate_above_0",
            ),
            models.CheckConstraint(
                condition=Q(reprocessed__gte=F("completed") + F("failed_again") + F("cancelled")),
                name="reprocessing_ended_were_put_back",
            ),
        ]
        indexes = [
            # The broker looks every second for those that need a worker.
            models.Index("due_at", condition=Q(finished_at=None), name="reprocessing_due"),
        ]

    def __str__(self) -> str:
        return f"{self.pk}"

    @property
    def left(self) -> int:
        """The number of dead letters that it has not come to."""
        return max(self.matched - self.reprocessed - self.refused, 0)

    @property
    def outstanding(self) -> int:
        """The number of reprocessed dead letters whose runs go on."""
        return self.reprocessed - self.completed - self.failed_again - self.cancelled


class ReprocessedLetter(models.Model):
    """A dead letter that a reprocessing requeued, and the result."""

    class Result(models.TextChoices):
        PENDING = "PENDING", "Pending: its run goes on"
        COMPLETED = "COMPLETED", "Completed: its run has its result"
        FAILED = "FAILED", "Failed: there is a dead letter of its run again"
        CANCELLED = "CANCELLED", "Cancelled: its run was stopped"

    reprocessing = models.ForeignKey(
        Reprocessing, on_delete=models.CASCADE, db_index=False, related_name="letters"
    )
    dead_letter = models.OneToOneField(DeadLetter, on_delete=models.CASCADE, related_name="+")
    outcome = models.CharField(max_length=16, choices=Result, default=Result.PENDING)

    class Meta:
        ordering = ["id"]
        indexes = [
            # What is to be looked at again, and the letters of one reprocessing.
            models.Index("reprocessing", "outcome", name="reprocessed_letter_by_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.dead_letter_id} {self.outcome}"
