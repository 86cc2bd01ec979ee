"""Delete what has been kept long enough: finished runs with all that belongs to them.

What is purged for certain has ended and can never run again:

- a completed or cancelled run, so long after its end as its flow keeps runs;
- a failed run whose dead letters were all discarded, so long after the last of these decisions.

A failed run with an open dead letter stays, however old: a decision about it is still due.
So does a run whose idempotency key counts, and one that has a message: its script is being stopped,
or branches go on beside a dead one.
Runs of a flow with an archive are written there first. Where they cannot be, they stay, as do those
that no key decrypts.
The versions of flows and scripts stay. Entries of the audit log go after ASYNCENGINE_AUDIT_DAYS.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django_q.models import Schedule
from knox.models import get_token_model

from flows.archive.encrypting import as_archived
from flows.archive.files import append, folder, held
from flows.archive.record import records
from flows.engine import IDEMPOTENCY_KEY_AGE
from flows.errors import PayloadUnreadable
from flows.models import (
    AuditEntry,
    BranchEnd,
    CachedValue,
    DeadLetter,
    Flow,
    FlowTotals,
    FlowVersion,
    IdempotencyKey,
    LoginCount,
    Message,
    QuietEnd,
    ReprocessedLetter,
    Run,
    TokenUse,
    WebhookDelivery,
)
from flows.models.audit_triggers import deletes_entries
from flows.models.flow import id_of_flow
from flows.models.payload_text import lacks_key
from flows.models.uuid7 import first_uuid7
from flows.store import store
from flows.store.flow_state import purge_expired
from flows.tasks.counting import purge_counts
from flows.tasks.error_classes import fill_some_error_classes
from flows.tasks.schedules import ensure

logger = logging.getLogger(__name__)

# The runs in one transaction: on SQLite no other process can write meanwhile, about 20 ms.
BATCH = 200
# What is written to the archive meanwhile takes longer, so a batch ends at this size. The size is
# looked at after each of these parts.
ARCHIVED_BYTES = 8 * 1024**2
ARCHIVED_TOGETHER = 20
# The runs of a flow that is no longer there.
RETENTION_WITHOUT_FLOW = timedelta(days=30)
SCHEDULE = "asyncengine retention"
SCHEDULE_MINUTES = 10
QUIET_ENDS_KEPT = timedelta(days=1)
BUDGET_SECONDS = 20.0

# A run that was purged, as the totals count it: the flow's name and the status.
Entry = tuple[str, str]


def purge(now: datetime | None = None, budget_seconds: float | None = BUDGET_SECONDS) -> int:
    """Purge what is too old: keys, logins, tokens, cached results, the audit log, states, runs.

    Return how many runs.

    It stops after the budget and goes on where it was when it is called again; None: no limit.
    """
    now = now or store().database.now()
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    purged = 0
    begun_at = time.monotonic()
    for count in _batches(now):
        purged += count
        if deadline is not None and time.monotonic() > deadline:
            break
        # Half of the time is left to the workers.
        time.sleep(time.monotonic() - begun_at)
        begun_at = time.monotonic()
    return purged


def purgeable(now: datetime | None = None) -> Counter[Entry]:
    """Return how many runs a purge would delete, by the flow's name and the status."""
    now = now or store().database.now()
    found: Counter[Entry] = Counter()
    for version, retention in _versions():
        runs = _ended(version, now - retention, now).order_by("status")
        for status, count in runs.values_list("status").annotate(count=Count("pk")):
            found[version.flow_name, status] += count
    return found


def ensure_schedule(**kwargs: Any) -> None:
    """Have django-q2 purge now and then: a receiver of post_migrate.

    A schedule that is there already stays as it was set.
    """
    ensure(
        SCHEDULE,
        kwargs.get("using", "default"),
        func="flows.tasks.retention.purge",
        schedule_type=Schedule.MINUTES,
        minutes=SCHEDULE_MINUTES,
    )


def _batches(now: datetime) -> Iterator[int]:
    """Purge batch by batch; yield how many runs each had."""
    while (
        _purge_keys(now)
        or _purge_logins(now)
        or _purge_tokens(now)
        or _purge_cache(now)
        or _purge_audit_log(now)
        or _purge_quiet_ends(now)
        or purge_expired(now, BATCH)
    ):
        yield 0
    while purge_counts(now, BATCH) or fill_some_error_classes():
        yield 0
    for version, retention in _versions():
        after: UUID | None = UUID(int=0)
        while after is not None:
            try:
                count, after = _purge_runs(version, now - retention, now, after)
            except OSError as error:
                logger.error(
                    "Runs of the flow %s are not purged, because they cannot be archived: %s",
                    version.flow_name,
                    error,
                )
                break
            yield count


def _versions() -> Iterator[tuple[FlowVersion, timedelta]]:
    """Yield the versions of flows that have runs, with how long these are kept.

    In any order: the budget may not do for all of them, and the same ones would always be left.
    """
    has_runs = Exists(Run.objects.filter(flow_version=OuterRef("pk")))
    for version in FlowVersion.objects.filter(has_runs).select_related("flow").order_by("?"):
        if _is_archived(version) and folder() is None:
            logger.warning(
                "Runs of the flow %s are not purged: ASYNCENGINE_ARCHIVE_DIR is not set.",
                version.flow_name,
            )
            continue
        yield version, version.flow.retention if version.flow else RETENTION_WITHOUT_FLOW


def _is_archived(version: FlowVersion) -> bool:
    """Say whether the runs are archived; those of a deleted flow are as it was at its end."""
    if version.flow:
        return version.flow.archive
    own = id_of_flow(version)
    which: dict[str, Any] = {"id": own} if own else {"name": version.flow_name}
    deleted = Flow.history.filter(history_type="-", **which)
    last = deleted.order_by("-history_date", "-history_id").values_list("archive", flat=True)
    return bool(last.first())


def _ended(version: FlowVersion, before: datetime, now: datetime) -> QuerySet[Run]:
    """Return the runs of a version that ended before then and can never run again."""
    # A run is older than its end, and its key says when it began: the index confines the search.
    ended = Run.objects.filter(
        flow_version=version, pk__lt=first_uuid7(before), finished_at__lt=before
    ).exclude(status__in=Run.UNFINISHED)
    undecided = Q(reprocessed_at=None, discarded_at=None) | Q(discarded_at__gte=before)
    letters = DeadLetter.objects.filter(undecided, run=OuterRef("pk"))
    keys = IdempotencyKey.objects.filter(
        run=OuterRef("pk"), created_at__gte=now - IDEMPOTENCY_KEY_AGE
    )
    # Found by its key, which is the run's; branches by an index of their own.
    message = Message.objects.filter(pk=OuterRef("pk"))
    branches = Message.objects.filter(run=OuterRef("pk"), branch__gt="")
    # What receivers are still to be told stays.
    webhooks = WebhookDelivery.objects.filter(
        run=OuterRef("pk"), status=WebhookDelivery.Status.PENDING
    )
    kept = Exists(letters) | Exists(keys) | Exists(message) | Exists(branches)
    return ended.exclude(kept | Exists(webhooks))


def _purge_runs(
    version: FlowVersion, before: datetime, now: datetime, after: UUID
) -> tuple[int, UUID | None]:
    """Purge one batch of a version's runs, the oldest; return how many, and where to go on.

    Raises OSError where they cannot be archived. Those that cannot be read stay.
    """
    archives = _is_archived(version)
    with held() if archives else nullcontext(), store().database.transaction():
        runs = _ended(version, before, now).filter(pk__gt=after).order_by("pk")
        if archives:
            for name in ("result", "error", "cancelled_input"):
                runs = runs.exclude(lacks_key(name))
        # Another purge leaves alone what this one has, so that nothing is counted twice.
        locked = runs.select_for_update(skip_locked=True, of=("self",))
        batch = list(locked.values_list("pk", "status")[:BATCH])
        if not batch:
            return 0, None
        is_last = len(batch) < BATCH
        if archives:
            # On disk before the rows go: a kill leaves them here, or in both places.
            count, archived = _archive(version.flow_name, [pk for pk, _ in batch])
            is_last = is_last and count == len(batch)
            last = batch[count - 1][0]
            batch = [(pk, status) for pk, status in batch if pk in archived]
        else:
            last = batch[-1][0]
        _delete([pk for pk, _ in batch])
        _subtract_from_totals(version.flow_name, Counter(status for _, status in batch))
    return len(batch), None if is_last else last


def _delete(ids: Sequence[UUID]) -> None:
    """Delete ended runs with all that belongs to them. Whole rows would be decrypted."""
    letters = DeadLetter.objects.filter(run__in=ids)
    again = ReprocessedLetter.objects.filter(dead_letter__in=letters)
    for rows in (again, letters, BranchEnd.objects.filter(run__in=ids)):
        # No signal keeps them: all is decided.
        rows.order_by()._raw_delete(connection.alias)
    Run.objects.filter(pk__in=ids).only("pk").delete()


def _archive(flow_name: str, ids: Sequence[UUID]) -> tuple[int, Set[UUID]]:
    """Write the first of these runs to the archive, up to a size.

    Return how many were looked at, and those that were written.
    """
    lines: dict[UUID, bytes] = {}
    count = 0
    while count < len(ids) and sum(map(len, lines.values())) < ARCHIVED_BYTES:
        part = ids[count : count + ARCHIVED_TOGETHER]
        count += len(part)
        lines |= _lines(flow_name, part)
    if lines:
        append(flow_name, lines.values(), store().database.now())
    return count, lines.keys()


def _lines(flow_name: str, ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """Return the lines of these runs for the archive, without those that cannot be read."""
    try:
        return dict(zip(ids, map(as_archived, records(ids)), strict=True))
    except PayloadUnreadable as error:
        if len(ids) == 1:
            logger.error("The run %s of the flow %s is not purged: %s", ids[0], flow_name, error)
            return {}
    return {id: line for each in ids for id, line in _lines(flow_name, [each]).items()}


def _subtract_from_totals(flow_name: str, purged: Counter[str]) -> None:
    completed, failed, cancelled = (
        purged[status] for status in (Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED)
    )
    FlowTotals.objects.filter(pk=flow_name).update(
        accepted=F("accepted") - purged.total(),
        completed=F("completed") - completed,
        failed=F("failed") - failed,
        cancelled=F("cancelled") - cancelled,
        purged_completed=F("purged_completed") + completed,
        purged_failed=F("purged_failed") + failed,
        purged_cancelled=F("purged_cancelled") + cancelled,
    )


def _purge_keys(now: datetime) -> int:
    """Delete a batch of the idempotency keys that no longer count; return how many."""
    with store().database.transaction():
        expired = IdempotencyKey.objects.filter(created_at__lt=now - IDEMPOTENCY_KEY_AGE)
        batch = list(expired.order_by("created_at").values_list("pk", flat=True)[:BATCH])
        return IdempotencyKey.objects.filter(pk__in=batch).delete()[0] if batch else 0


def _purge_logins(now: datetime) -> int:
    """Delete a batch of the counts of logins that no longer count; return how many."""
    overdue = LoginCount.objects.overdue(now)
    batch = list(overdue.order_by("changed_at").values_list("pk", flat=True)[:BATCH])
    # One that was counted again meanwhile stays.
    return overdue.filter(pk__in=batch).delete()[0] if batch else 0


def _purge_tokens(now: datetime) -> int:
    """Delete a batch of the bearer tokens that have expired; return how many."""
    expired = get_token_model().objects.filter(expiry__lt=now)
    batch = list(expired.order_by("expiry").values_list("pk", flat=True)[:BATCH])
    count: int = expired.filter(pk__in=batch).delete()[0] if batch else 0
    # A use may have been written while its token was deleted.
    TokenUse.objects.exclude(pk__in=get_token_model().objects.values("pk")).delete()
    return count


def _purge_cache(now: datetime) -> int:
    """Delete a batch of what django-q2 has cached and has expired; return how many."""
    expired = CachedValue.objects.expired(now)
    batch = list(expired.order_by("expires_at").values_list("pk", flat=True)[:BATCH])
    return expired.filter(pk__in=batch).delete()[0] if batch else 0


def _purge_quiet_ends(now: datetime) -> int:
    """Delete a batch of the ends that streams of events no longer go back to; return how many."""
    old = QuietEnd.objects.filter(at__lt=now - QUIET_ENDS_KEPT)
    batch = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
    return QuietEnd.objects.filter(pk__in=batch).delete()[0] if batch else 0


def _purge_audit_log(now: datetime) -> int:
    """Delete a batch of the entries of the audit log that are too old; return how many."""
    days = settings.ASYNCENGINE_AUDIT_DAYS
    if not days:
        return 0
    try:
        before = now - timedelta(days=days)
    except OverflowError:
        # The calendar begins later.
        return 0
    old = AuditEntry.objects.older_than(before)
    batch = list(old.order_by("at").values_list("pk", flat=True)[:BATCH])
    if not batch:
        return 0
    with store().database.transaction(), deletes_entries(connection):
        # Neither the model nor a QuerySet deletes entries.
        AuditEntry._base_manager.filter(pk__in=batch)._raw_delete(connection.alias)
    return len(batch)
