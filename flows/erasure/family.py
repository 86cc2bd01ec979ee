"""The runs that the payload of a run has gone to: those that repeat it, and its children."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

from flows.models import Run

# The ids in one query.
BATCH = 500


def with_relatives(ids: Iterable[UUID]) -> list[UUID]:
    """Return the runs, those that repeat them or that they repeat, and those started by scripts of
    any of these, the oldest first. A run that was purged may be among them.
    """
    found = set(ids)
    new = found
    while new:
        new = _next_to(new) - found
        found |= new
    return sorted(found)


def _next_to(ids: Collection[UUID]) -> set[UUID]:
    near: set[UUID] = set()
    for batch in in_batches(ids):
        repeated = Run.objects.filter(pk__in=batch, repeats__isnull=False).order_by()
        near.update(Run.objects.filter(parent__in=batch).order_by().values_list("pk", flat=True))
        near.update(Run.objects.filter(repeats__in=batch).order_by().values_list("pk", flat=True))
        near.update(pk for pk in repeated.values_list("repeats", flat=True) if pk)
    return near


def in_batches(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]
