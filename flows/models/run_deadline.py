"""The deadlines of runs: what has not ended by then is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import models
from django.db.models import Q

from flows.models.run import Run
from flows.models.run_marks import has_deadline


class RunDeadlineQuerySet(models.QuerySet["RunDeadline"]):
    def passed(self, now: datetime) -> RunDeadlineQuerySet:
        """Return those that have passed and are not decided yet, the oldest first."""
        return self.filter(was_missed=None, at__lte=now).order_by("at")

    def passed_of(self, run_ids: Sequence[str], now: datetime) -> set[UUID]:
        """Return the runs among these whose deadlines have passed and are not decided yet.

        The ids are as the database writes them. Runs without a deadline cost no query.
        """
        marked = [UUID(id) for id in run_ids if has_deadline(id)]
        if not marked:
            return set()
        return set(self.passed(now).filter(pk__in=marked).values_list("pk", flat=True))


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

    objects = RunDeadlineQuerySet.as_manager()

    class Meta:
        ordering = ["at"]
        indexes = [
            # The next ones to be decided.
            models.Index(fields=["at"], condition=Q(was_missed=None), name="run_deadline_open"),
        ]

    def __str__(self) -> str:
        return f"{self.at} of {self.run_id}"
