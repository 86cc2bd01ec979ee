"""A run and its relatives: those that started it, that its scripts started, and that repeat it."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from flows.models import Run

MOST_CHILDREN = 20


def children_of(run: Run, seen: QuerySet[Run]) -> list[Run]:
    """Return the first of the runs that its scripts have started, among those that are seen.

    One more than `MOST_CHILDREN` tells that there are others.
    """
    return _first_of(seen.filter(parent=run.pk))


def repeating_runs(run: Run, seen: QuerySet[Run]) -> list[Run]:
    """Return the first of the runs that repeat it, as `children_of` does."""
    return _first_of(seen.filter(repeats=run.pk))


def parent_of(run: Run, seen: QuerySet[Run]) -> Any:
    """Return the run whose script started it, None where there is none that is seen."""
    if run.parent is None:
        return None
    return seen.filter(pk=run.parent).select_related("flow_version").defer(*Run.PAYLOADS).first()


def _first_of(runs: QuerySet[Run]) -> list[Run]:
    ordered = runs.order_by("correlation_id").select_related("flow_version")
    return list(ordered.defer(*Run.PAYLOADS)[: MOST_CHILDREN + 1])
