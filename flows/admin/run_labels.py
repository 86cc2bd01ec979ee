"""The words and colours of runs: one that waits is not called running."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Count

from flows.admin.display import STATUS_LABELS
from flows.models import Message, Run

WAITING = "WAITING"
RUN_LABELS = STATUS_LABELS | {WAITING: "info"}


def words_of(runs: Sequence[Run]) -> dict[UUID, str]:
    """Return the word of each run: WAITING for a running one whose messages all wait."""
    running = [run.pk for run in runs if run.status == Run.Status.RUNNING]
    held = Message.objects.of_runs(running).values_list("run").annotate(Count("consumer"))
    waiting = {run for run, count in held if not count} if running else set()
    return {run.pk: WAITING if run.pk in waiting else run.status for run in runs}
