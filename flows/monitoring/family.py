"""A run, the run whose script started it, and those that its own scripts started."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from flows.models import Run

MOST_CHILDREN = 20


def children_of(run: Run, seen: QuerySet[Run]) -> list[Run]:
    """Return the first of the runs that its scripts have started, among those that are seen.

    One more than `MOST_CHILDREN` tells that there are others.
    """
    found = seen.filter(parent=run.pk).order_by("correlation_id")
    return list(found.select_related("flow_version").defer("result")[: MOST_CHILDREN + 1])


def parent_of(run: Run, seen: QuerySet[Run]) -> Any:
    """Return the run whose script started it, None where there is none that is seen."""
    if run.parent is None:
        return None
    return seen.filter(pk=run.parent).select_related("flow_version").defer("result").first()
