"""The deadlines of runs: what has not ended by then is cancelled."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from flows.models.run import Run


class RunDeadline(models.Model):
    """The deadline of a run. In a table of its own, so that runs without one pay for none.

    It is decided once, when it has passed: the end of a run does not touch it.
    """

    run = models.OneToOneField(
        Run, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="+"
    )
    at = models.DateTimeField()
    was_missed = models.BooleanField(
        null=True,
        help_text="Whether the run was cancelled by it; null: it has not passed, or not long ago.",
    )

    class Meta:
        ordering = ["at"]
        indexes = [
            # The next ones to be decided.
            models.Index(fields=["at"], condition=Q(was_missed=None), name="run_deadline_open"),
        ]

    def __str__(self) -> str:
        return f"{self.at} of {self.run_id}"
