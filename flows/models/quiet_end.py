"""The ends of runs that no attempt shows, for those who follow the events of runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import models


class QuietEnd(models.Model):
    """The end of a run in a transaction that stored no attempt of it.

    It was cancelled, its last dead branch was discarded, or outputs that waited for room have died.
    Every other end is found by the attempt that was stored with it, so the usual commit writes
    nothing here. Rows are purged after a day.
    """

    # No reference: the run may be purged first.
    run = models.UUIDField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.run} at {self.at}"


def note_quiet_ends(run_ids: Iterable[UUID], at: datetime) -> None:
    """Store them, in the transaction that ends the runs."""
    QuietEnd.objects.bulk_create(QuietEnd(run=run_id, at=at) for run_id in run_ids)
