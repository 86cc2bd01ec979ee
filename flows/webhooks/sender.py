"""Takes deliveries that are due and sends them, some at a time, each in a thread of its own.

A delivery is taken by a conditional update that says until when. Where its process is killed, the
next sender takes it after that time; the receiver may get it twice then, with the same id.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from django.db.models import F, QuerySet

from flows.models import WebhookDelivery
from flows.store import store
from flows.webhooks.attempt import attempt
from scripts.services.database import let_go

logger = logging.getLogger(__name__)

THREADS = 32
# A flow gets this share of the threads that are free, so that slow receivers of some flows leave
# threads for the others.
SHARE = 4
# Longer than an attempt can last.
TAKEN_FOR = timedelta(seconds=60)


def due() -> QuerySet[WebhookDelivery]:
    """Return what is to be sent now."""
    return WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.PENDING, next_attempt_at__lte=store().database.now()
    )


class Sender:
    """The threads of this process that send. They go on when `send_next` has returned."""

    def __init__(self, threads: int = THREADS) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._changed = threading.Condition()
        self._busy: Counter[int | None] = Counter()

    def send_next(self) -> bool:
        """Take one delivery and begin to send it; tell whether there was one, and a thread."""
        full = self._full_flows()
        if full is None:
            return False
        taken = self._take(full)
        if taken is None:
            return False
        with self._changed:
            self._busy[taken[0].flow] += 1
        self._threads().submit(self._send, *taken)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until a delivery that is under way has ended; tell whether one has."""
        with self._changed:
            return self._busy.total() > 0 and self._changed.wait(seconds)

    def is_idle(self) -> bool:
        with self._changed:
            return not self._busy.total()

    def _full_flows(self) -> list[int] | None:
        """Return the flows that have as many threads as they get; None: no thread is free."""
        with self._changed:
            free = self.threads - self._busy.total()
            most = max(free // SHARE, 1)
            full = [flow or 0 for flow, count in self._busy.items() if count >= most]
            return full if free > 0 else None

    def _take(self, full: list[int]) -> tuple[WebhookDelivery, datetime] | None:
        while True:
            waiting = due().exclude(flow__in=full) if full else due()
            # One whose body cannot be decrypted is to keep no other waiting.
            delivery = waiting.order_by("next_attempt_at").defer("body").first()
            if delivery is None:
                return None
            until = store().database.now() + TAKEN_FOR
            with store().database.transaction():
                mine = WebhookDelivery.objects.filter(
                    pk=delivery.pk,
                    status=WebhookDelivery.Status.PENDING,
                    next_attempt_at=delivery.next_attempt_at,
                )
                is_mine = mine.update(next_attempt_at=until, attempts=F("attempts") + 1)
            if is_mine:
                delivery.attempts += 1
                return delivery, until

    def _send(self, delivery: WebhookDelivery, until: datetime) -> None:
        try:
            attempt(delivery, until)
        except Exception:
            # It is taken again when its time has come.
            logger.exception("The webhook delivery %s was not recorded.", delivery.pk)
        finally:
            let_go()
            with self._changed:
                self._busy[delivery.flow] -= 1
                self._busy += Counter()
                self._changed.notify_all()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="webhook")
        return self._pool
