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
        RUNNING = "RUNNING", "Running: dead letters are put back, or their runs have not all ended"
        STOPPED = "STOPPED", "Stopped: no more are put back, the note says why"
        FINISHED = "FINISHED", "Finished: all were put back and their runs have ended"

    class Script(models.TextChoices):
        OWN = "own", "own: the version that the run has"
        NEWEST = "newest", "newest: the flow as it is now"

    filter = models.JSONField(default=dict, help_text="Which dead letters; see the API.")
    flow_ids = models.JSONField(null=True, help_text="The flows it is confined to; null: all.")
    script = models.CharField(max_length=16, choices=Script, default=Script.OWN)
    rate_per_second = models.FloatField(null=True, help_text="Null: as fast as it goes.")
    stop_after_failures = models.PositiveIntegerField(
        null=True, help_text="It stops itself when so many have failed again."
    )
    sample = models.PositiveIntegerField(
        default=0, help_text="After so many it waits until their runs have ended."
    )

    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    note = models.TextField(default="", blank=True, help_text="Why it stopped or waits.")
    matched = models.PositiveIntegerField(default=0, help_text="Dead letters when it was made.")
    reprocessed = models.PositiveIntegerField(default=0, help_text="Put back, whatever came of it.")
    completed = models.PositiveIntegerField(default=0)
    failed_again = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0, help_text="Their step or queue is gone.")
    last_refusal = models.TextField(default="", blank=True)
    cursor = models.BigIntegerField(default=0, help_text="The last dead letter it has dealt with.")
    last_id = models.BigIntegerField(help_text="What died later is not in it.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, help_text="When nothing of it ran any more.")

    fencing_token = models.BigIntegerField(
        default=0, help_text="A task that was queued with an older one writes nothing."
    )
    due_at = models.DateTimeField(
        help_text="If no worker has touched it by then, another task is queued."
    )
    recent_starts = models.TextField(
        default="",
        blank=True,
        help_text="What the rate counts; JSON, see flows/rate.py.",
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
        return f"{self.pk}: {self.reprocessed:,} of {self.matched:,}"

    @property
    def outstanding(self) -> int:
        """How many were put back and have not ended."""
        return self.reprocessed - self.completed - self.failed_again - self.cancelled


class ReprocessedLetter(models.Model):
    """A dead letter that a reprocessing put back, and what came of it."""

    class Outcome(models.TextChoices):
        PENDING = "PENDING", "Pending: its run goes on"
        COMPLETED = "COMPLETED", "Completed: its run has its result"
        FAILED = "FAILED", "Failed: there is a dead letter of its run again"
        CANCELLED = "CANCELLED", "Cancelled: its run was stopped"

    reprocessing = models.ForeignKey(
        Reprocessing, on_delete=models.CASCADE, db_index=False, related_name="letters"
    )
    dead_letter = models.OneToOneField(DeadLetter, on_delete=models.CASCADE, related_name="+")
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.PENDING)

    class Meta:
        ordering = ["id"]
        indexes = [
            # What is to be looked at again, and the letters of one reprocessing.
            models.Index("reprocessing", "outcome", name="reprocessed_letter_by_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.dead_letter_id} {self.outcome}"
