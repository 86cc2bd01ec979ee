"""Erase the payloads of runs in small transactions: what is erased stays erased, over any kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import QuerySet

from flows.access import audit
from flows.access.rights import may, rights_by_flow
from flows.archive.reading import archived_relatives, count_archived, erase_archived
from flows.erasure.family import in_batches, with_relatives
from flows.erasure.places import count_places, erase_places, merge_texts, overwriting
from flows.errors import RightMissing, RunNotFinished
from flows.models import Message, Right, Run, RunTextMark
from flows.store import store
from flows.store.totals import add_totals, totals_by_flow

if TYPE_CHECKING:
    from flows.access.rights import Caller

# The runs in one transaction: on SQLite no other process can write meanwhile.
BATCH = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be erased: one run, or all runs with a label. Relatives of these go with them."""

    run: UUID | None = None
    label: tuple[str, str] | None = None
    # Runs in the archive that are meant, which may have relatives that are not there.
    archived: frozenset[UUID] = frozenset()

    def __str__(self) -> str:
        return f"label {':'.join(self.label)}" if self.label else f"correlation id {self.run}"

    def among(self, runs: QuerySet[Run]) -> list[UUID]:
        """Return the ids of those of the runs that are meant, and of their relatives."""
        if self.label:
            key, value = self.label
            runs = runs.filter(labels__key=key, labels__value=value)
        elif self.run:
            runs = runs.filter(pk=self.run)
        found = runs.order_by().values_list("pk", flat=True)
        return with_relatives({*found, *self.archived})

    def with_archived(self) -> Selection:
        """Return what is meant with the runs of the archive."""
        ids = {*self.among(Run.objects.all()), *([self.run] if self.run else [])}
        return replace(self, archived=frozenset(archived_relatives(ids, self.label)))


@dataclass(slots=True)
class Erased:
    """How many runs are meant, how many of them are erased by now, and what was, by place."""

    runs: int = 0
    erased: int = 0
    places: Counter[str] = field(default_factory=Counter)
    # Whether the index of the search has forgotten what was deleted.
    is_forgotten: bool = True

    @property
    def is_complete(self) -> bool:
        return self.erased == self.runs


def erase(
    selection: Selection,
    runs: QuerySet[Run],
    *,
    user: Caller | None = None,
    reason: str = "",
    seconds: float = inf,
) -> Erased:
    """Erase what is selected among the runs, for about this time; call it again for the rest.

    The audit log gets an entry of each run, in its transaction. Raises RunNotFinished before
    anything is erased where a run is under way.
    """
    ends_at = time.monotonic() + seconds
    done: Counter[str] = Counter()
    while True:
        # Read again: a run may have been started again while others were erased.
        ids = selection.among(runs)
        left = _not_erased(ids)
        require_ended(left)
        for start in range(0, len(left), BATCH):
            if start and time.monotonic() >= ends_at:
                break
            done += _erase_some(left[start : start + BATCH], str(selection), user, reason)
        total, left = _count(ids), _not_erased(ids)
        if not left:
            return Erased(total, total, done, merge_texts(ends_at))
        if time.monotonic() >= ends_at:
            return Erased(total, total - len(left), done)


def preview(selection: Selection, runs: QuerySet[Run]) -> Erased:
    """Return what `erase` would erase, and erase nothing. Raises RunNotFinished, too."""
    ids = selection.among(runs)
    left = _not_erased(ids)
    require_ended(left)
    places: Counter[str] = Counter()
    for batch in in_batches(left):
        places += count_places(batch)
    total = _count(ids)
    return Erased(total, total - len(left), places)


def require_ended(ids: Collection[UUID]) -> None:
    """Raise RunNotFinished if one of the runs is under way."""
    for batch in in_batches(ids):
        going_on = Run.objects.filter(pk__in=batch, status__in=Run.UNFINISHED).order_by("pk")
        for pk, status in going_on.values_list("pk", "status")[:1]:
            raise RunNotFinished(
                f"The run {pk} is {status}: cancel it or wait for its end, then erase."
            )
        for pk in Message.objects.of_runs(batch).values_list("run_id", flat=True)[:1]:
            raise RunNotFinished(
                f"The run {pk} has a message left: its script is being stopped, or other branches"
                " go on. Cancel it or wait for its end, then erase."
            )


def require_right_to_erase(selection: Selection, runs: QuerySet[Run], user: Caller) -> None:
    """Raise RightMissing unless the user may operate the flows of all runs that are meant."""
    rights = rights_by_flow(user)
    for batch in in_batches(selection.among(runs)):
        flows = Run.objects.filter(pk__in=batch).order_by().values_list("flow_version__flow")
        for (flow_id,) in flows.distinct():
            if Right.OPERATE not in rights[None] | rights[flow_id]:
                raise RightMissing(
                    "Erasing needs the right to operate the flow, and those of the runs that repeat"
                    " the run or were started by its scripts."
                )


def may_erase(user: Caller, run: Run) -> bool:
    """Say whether the user may erase the run itself; its relatives may be others' flows."""
    return may(user, Right.OPERATE, run.flow_version.flow_id)


def _erase_some(ids: list[UUID], asked: str, user: Any, reason: str) -> Counter[str]:
    erased: Counter[str] = Counter()
    with overwriting(), store().database.transaction():
        # No text is gathered meanwhile: it would have been read before.
        list(RunTextMark.objects.select_for_update().values_list("pk"))
        runs = Run.objects.filter(pk__in=ids, erased_at=None).order_by("pk")
        locked = runs.select_related("flow_version").select_for_update(of=("self",), no_key=True)
        found = list(locked.defer(*Run.PAYLOADS))
        require_ended([run.pk for run in found])
        now, totals = store().database.now(), totals_by_flow()
        for run in found:
            # Nothing can be done with them any more, and open ones would keep the run for ever.
            changes = store().discard_letters(run.pk, user.pk if user else None)
            add_totals(totals, changes)
            discarded = sum(each.letters_decided for each in changes.values())
            places = erase_places(run.pk, now)
            after = {"asked": asked, "discarded dead letters": discarded, **places}
            audit.record("erase", run, after=after, reason=reason, user=user)
            erased += places
        # At the end and in one order: all starts and commits of these flows wait for them.
        store().counters.add_to_totals(totals)
    return erased


def _not_erased(ids: Collection[UUID]) -> list[UUID]:
    return [
        pk
        for batch in in_batches(ids)
        for pk in Run.objects.filter(pk__in=batch, erased_at=None)
        .order_by("pk")
        .values_list("pk", flat=True)
    ]


def _count(ids: Collection[UUID]) -> int:
    return sum(Run.objects.filter(pk__in=batch).count() for batch in in_batches(ids))


def erase_everywhere(
    selection: Selection, *, user: Caller | None = None, reason: str = ""
) -> Erased:
    """Erase all that is selected, in the archive too. Raises as `erase` does."""
    selection = selection.with_archived()
    found = erase(selection, Run.objects.all(), user=user, reason=reason)
    # Afterwards: what is purged meanwhile is there.
    ids = selection.with_archived().archived
    count = erase_archived(ids, str(selection), user=user, reason=reason)
    return _with_archived(found, count)


def preview_everywhere(selection: Selection) -> Erased:
    """Return what `erase_everywhere` would erase. Raises RunNotFinished, too."""
    selection = selection.with_archived()
    found = preview(selection, Run.objects.all())
    return _with_archived(found, count_archived(selection.archived))


def _with_archived(found: Erased, count: int) -> Erased:
    return replace(found, places=+Counter({**found.places, "archived": count}))
