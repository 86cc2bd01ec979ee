"""Counts the starts that are refused, by flow, minute and cause.

A start that is accepted passes none of this. Refusals are added in memory and written at most every
five seconds, by the call that is refused then, or by a thread where none is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import F
from django.utils import timezone

from flows.errors import PayloadInvalid, QueueFull, StartRateExceeded
from flows.models import RefusedStarts
from flows.models.counts import ENDLESS_FROM
from flows.store import store

logger = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
# Where the database is away, no more keys than these wait for it.
MOST_KEYS = 1_000

CAUSES: dict[type[Exception], RefusedStarts.Cause] = {
    QueueFull: RefusedStarts.Cause.FULL,
    PayloadInvalid: RefusedStarts.Cause.PAYLOAD,
    StartRateExceeded: RefusedStarts.Cause.RATE,
}
Key = tuple[datetime, str, str]


class Refusals:
    """The refusals of this process that are not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Key] = Counter()
        self._later: threading.Timer | None = None
        self.forget()

    def forget(self) -> None:
        """Drop what is not written."""
        with self._lock:
            self._take()
        self._written = -WRITE_SECONDS

    def add(self, flow_name: str, cause: str) -> None:
        self.note(flow_name, cause)
        self.write_if_due()

    def add_error(self, flow_name: str, error: Exception) -> None:
        """Count an error of a start, if it is a refusal."""
        if self.note_error(flow_name, error):
            self.write_if_due()

    def note_error(self, flow_name: str, error: Exception) -> bool:
        """Count it in memory alone, and tell whether it is a refusal."""
        causes = [CAUSES[each] for each in CAUSES if isinstance(error, each)]
        for cause in causes:
            self.note(flow_name, cause)
        return bool(causes)

    def note(self, flow_name: str, cause: str) -> None:
        """Count in memory alone."""
        minute = timezone.now().replace(second=0, microsecond=0)
        with self._lock:
            self._counts[minute, flow_name, cause] += 1

    def write_if_due(self) -> None:
        with self._lock:
            if (wait := self._written + WRITE_SECONDS - time.monotonic()) > 0:
                self._write_later(wait)
                return
            taken = self._take()
        self._write(taken)

    def write(self) -> None:
        """Write all of them now."""
        with self._lock:
            taken = self._take()
        self._write(taken)

    def _write_later(self, seconds: float) -> None:
        if self._later is None:
            self._later = threading.Timer(seconds, self._write_apart)
            self._later.daemon = True
            self._later.start()

    def _write_apart(self) -> None:
        try:
            self.write()
        finally:
            connections.close_all()

    def _take(self) -> Counter[Key]:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._written = time.monotonic()
        taken, self._counts = self._counts, Counter()
        return taken

    def _write(self, counts: Counter[Key]) -> None:
        try:
            with store().database.transaction():
                # In one order, so that two processes do not wait for each other.
                for key, count in sorted((counts + _sums_of(counts)).items()):
                    _add(key, count)
        except (DatabaseError, InterfaceError):
            # The caller gets the refusal in any case.
            logger.warning("Refused starts were not counted.", exc_info=True)
            with self._lock:
                if len(self._counts) < MOST_KEYS:
                    self._counts.update(counts)
                    self._write_later(WRITE_SECONDS)


def _sums_of(counts: Counter[Key]) -> Counter[Key]:
    """Return the same for the rows that are never purged: metrics want sums that only grow."""
    sums: Counter[Key] = Counter()
    for (_, flow_name, cause), count in counts.items():
        sums[ENDLESS_FROM, flow_name, cause] += count
    return sums


def _add(key: Key, count: int) -> None:
    minute, flow_name, cause = key
    row = RefusedStarts(minute=minute, flow_name=flow_name, cause=cause)
    RefusedStarts.objects.bulk_create([row], ignore_conflicts=True)
    found = RefusedStarts.objects.filter(minute=minute, flow_name=flow_name, cause=cause)
    found.update(count=F("count") + count)


refusals = Refusals()


@contextmanager
def counting_refusals(flow_name: str) -> Iterator[None]:
    """Count a start that is refused within it.

    In a transaction of the caller nothing is written: others would wait for the counted row until
    it ends. It is written after the commit; after a rollback by the next refusal.
    """
    try:
        yield
    except tuple(CAUSES) as error:
        refusals.note_error(flow_name, error)
        transaction.on_commit(refusals.write_if_due)
        raise
