from __future__ import annotations

from collections.abc import Collection

from django.conf import settings
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from flows.disposition import DeadLetterCause, DeadLetterReason
from flows.models.payload_text import GroupedText, PayloadText, ShownText
from flows.models.run import Run
from flows.models.version import StepVersion


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def open(self) -> DeadLetterQuerySet:
        """Return the dead letters that are neither reprocessed nor discarded."""
        return self.filter(reprocessed_at=None, discarded_at=None)

    def unread(self) -> DeadLetterQuerySet:
        """Return them without their payloads, whose key may be missing: each is read when used."""
        return self.defer("body", "details")

    def open_in(self, path: str) -> Coalesce:
        """Return the number of open dead letters for each row of an outer query.

        `path` leads from a dead letter to the row: "step__queue" for a query of queues.
        """
        letters = self.open().filter(**{path: OuterRef("pk")}).order_by()
        counted = letters.values(path).annotate(count=Count("pk")).values("count")
        return Coalesce(Subquery(counted), 0)

    def open_of_queues(self, ids: Collection[int]) -> dict[int, int]:
        """Return the numbers of open dead letters by the ids of these queues."""
        letters = self.open().filter(step__queue__in=ids).order_by()
        return dict(letters.values_list("step__queue").annotate(count=Count("pk")))


class DeadLetter(models.Model):
    """A message that was rejected or ran out of deliveries, kept until an operator decides."""

    Reason = DeadLetterReason
    Cause = DeadLetterCause

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="dead_letters")
    step = models.ForeignKey(StepVersion, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=32, choices=Reason)
    cause = models.CharField(  # noqa: DJ001  null tells the old ones
        max_length=20,
        choices=Cause,
        null=True,
        help_text="How its last delivery ended; null: of before there were causes.",
    )
    error = ShownText(help_text="With the script's traceback.")
    # Null tells the old ones from an empty error.
    error_class = GroupedText(
        max_length=200,
        null=True,
        help_text="The error without numbers, ids and texts; null: of before there were classes.",
    )
    code = models.CharField(  # noqa: DJ001  null: the script gave none
        max_length=100, null=True, help_text="What the script has named it when it rejected it."
    )
    # Null: the script gave none.
    details = PayloadText(
        null=True, help_text="What the script has said when it rejected it, JSON."
    )
    body = PayloadText(help_text="The envelope as the step received it, JSON.")
    deliveries = models.PositiveIntegerField()
    branch = models.TextField(default="", blank=True)
    dead_at = models.DateTimeField(db_index=True)
    reprocessed_at = models.DateTimeField(null=True, blank=True)
    reprocessed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    discarded_at = models.DateTimeField(null=True, blank=True)
    discarded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Open dead letters: for lists, the badge and counts.
            models.Index(
                "step",
                "id",
                condition=Q(reprocessed_at=None, discarded_at=None),
                name="dead_letter_open",
            ),
            # The open ones that scripts have given a code.
            models.Index(
                fields=["code", "id", "step"],
                condition=Q(reprocessed_at=None, discarded_at=None, code__isnull=False),
                name="dead_letter_by_code",
            ),
            # The open ones of an error class, and the counts of classes without the rows.
            models.Index(
                fields=["error_class", "id", "step", "dead_at"],
                condition=Q(reprocessed_at=None, discarded_at=None),
                name="dead_letter_by_error",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.step} of {self.run_id}"
