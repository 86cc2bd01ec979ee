"""What happened in each minute: the tables of the curves. `flows/tasks/counting.py` writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import models

# Blocks and rows that are never ended have one slot without a length, and this time.
ENDLESS_SECONDS = 0
ENDLESS_FROM = datetime(1970, 1, 1, tzinfo=UTC)


class CountBlock(models.Model):
    """What happened to a flow, or at a step of it, in the slots of a stretch of time.

    `slot_seconds` tells the length of a slot: the 60 minutes of an hour, the 144 times ten minutes
    of a day, or the 168 hours of a week. Every event counts in a block of each length, so nothing
    needs to be rolled up and all lengths have the same sums; the finer blocks are deleted sooner.
    A flow has some 40 blocks at any time, and so has each step. A block whose slots have no length
    is never ended: its sums only grow, as counters of metrics must.
    """

    flow_name = models.CharField(max_length=100)
    step_name = models.CharField(
        max_length=100, default="", blank=True, help_text="Empty: the runs of the flow."
    )
    slot_seconds = models.PositiveIntegerField()
    begins_at = models.DateTimeField()
    counts = models.TextField(help_text="JSON: by the event, a number for each slot.")
    durations = models.TextField(
        default="{}", help_text="JSON: a histogram, see flows/monitoring/histogram.py."
    )

    class Meta:
        constraints = [
            # In this order it serves all pages: they ask for the blocks of some times.
            models.UniqueConstraint(
                "slot_seconds", "begins_at", "flow_name", "step_name", name="count_block_once"
            ),
        ]
        permissions = [("view_metrics", "Can read the metrics of all flows")]

    def __str__(self) -> str:
        return f"{self.flow_name} {self.step_name} from {self.begins_at}"


class CountedTotals(models.Model):
    """Which part of the totals of a flow is in its blocks: all events, since the flow was made."""

    flow_name = models.CharField(primary_key=True, max_length=100)
    counted = models.TextField(help_text="JSON: a number by the event.")

    def __str__(self) -> str:
        return self.flow_name


class CountsClock(models.Model):
    """The one row that is locked while counts are written, with when the totals were read last."""

    sampled_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"sampled at {self.sampled_at}"


class ConservationCheck(models.Model):
    """The result of a check of conservation, for pages that cannot wait for one."""

    checked_at = models.DateTimeField()
    faults = models.TextField(default="[]", help_text="JSON: sentences.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"checked at {self.checked_at}"


class RefusedStarts(models.Model):
    """How many starts of a flow were refused in a minute, and in all of them.

    `flows/starts/refusals.py` writes them.
    """

    class Cause(models.TextChoices):
        FULL = "full", "full queue"
        PAYLOAD = "payload", "payload"
        RATE = "rate", "start rate"

    minute = models.DateTimeField()
    flow_name = models.CharField(max_length=100)
    cause = models.CharField(max_length=16, choices=Cause)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint("minute", "flow_name", "cause", name="refused_starts_once"),
        ]

    def __str__(self) -> str:
        return f"{self.flow_name}: {self.count} ({self.cause}) at {self.minute}"
