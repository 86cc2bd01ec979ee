"""Refuses to delete runs that are under way: their messages and all counters would be left over."""

from __future__ import annotations

from typing import Any

from django.db.models import ProtectedError
from django.db.models.signals import pre_delete

from flows.models import Run


def connect() -> None:
    pre_delete.connect(refuse_live_run, sender=Run, dispatch_uid="flows.live_runs")


def refuse_live_run(instance: Run, **kwargs: Any) -> None:
    """Raise ProtectedError for a run that has not ended, deleted alone or by a query set."""
    if instance.status in (Run.Status.QUEUED, Run.Status.RUNNING):
        raise ProtectedError(
            f"The run {instance.pk} is {instance.status}: cancel it first. Runs that have ended"
            " are deleted when their flow's retention is over.",
            {instance},
        )
