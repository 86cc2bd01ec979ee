"""Messages for which no key of this machine decrypts what they need: they wait, and are told of."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import inf

from flows.models import LiveCluster
from flows.plan import step_plan
from flows.store import DeliveryResult, HeldMessage, store
from flows.tasks.unreadable import UnreadableChannel
from flows.worker.redelivery import put_aside
from flows.worker.results import ended_now

logger = logging.getLogger(__name__)

# How long such a message waits until it is tried again.
UNREADABLE_DELAY = timedelta(seconds=10)
# The log says at most so often that a key is missing, however many messages need it.
LOG_AGAIN_SECONDS = 60.0
# The broker is told so often, unless the queue is to rest.
TELL_AGAIN_SECONDS = 5.0
MOST_AT_ONCE = 500

_logged_at: dict[str, float] = {}


def unread(held: HeldMessage, why: str, has_run: bool = False) -> DeliveryResult:
    """Let a message wait where no key decrypts what it needs: others may have it, or soon will.

    `has_run`: its script began, and has asked for what cannot be read.
    """
    now = time.monotonic()
    is_news = now - _logged_at.get(why, -inf) > LOG_AGAIN_SECONDS
    if is_news:
        _logged_at[why] = now
    level = logging.ERROR if is_news else logging.DEBUG
    logger.log(level, "message %s of run %s waits. %s", held.id, held.run_id, why)
    held.unreadable = why
    return replace(ended_now(held, put_aside(UNREADABLE_DELAY)), runs_again=has_run)


class Unreadable:
    """What this process could not read. It tells its cluster's broker, where it has one.

    From a queue where it could read nothing it takes one message at a time, so that what waits is
    there for other clusters, which may have the key. Without others it takes more each time, and
    so comes to what it can read.
    """

    def __init__(self, channel: UnreadableChannel | None = None, cluster: str = "") -> None:
        self.channel = channel
        self.cluster = cluster
        self._told_at: dict[tuple[int, str], float] = {}
        self._most: dict[int, int] = {}

    def most(self, queue_id: int) -> int | None:
        """Return how many messages of a queue are to be taken at once; None: any number."""
        return self._most.get(queue_id)

    def note(self, stored: Sequence[DeliveryResult], backs_off: bool) -> None:
        """Take what a commit has stored, and put off. `backs_off`: from its queue."""
        if self.channel is None:
            return
        found = {(step_plan(e.held.step_id).queue_id, e.held.unreadable) for e in stored}
        read = {queue_id for queue_id, why in found if not why}
        for queue_id in read & self._most.keys():
            del self._most[queue_id]
        for queue_id, why in found:
            if why:
                self._tell(queue_id, why, backs_off)
                if queue_id not in read:
                    self._most[queue_id] = self._next_most(queue_id)

    def _tell(self, queue_id: int, why: str, backs_off: bool) -> None:
        clock = time.monotonic()
        if backs_off or clock - self._told_at.get((queue_id, why), -inf) > TELL_AGAIN_SECONDS:
            self._told_at[queue_id, why] = clock
            assert self.channel is not None
            self.channel.send(queue_id, why, backs_off)

    def _next_most(self, queue_id: int) -> int:
        before = self._most.get(queue_id)
        others = LiveCluster.objects.alive(store().database.now()).exclude(key=self.cluster)
        return 1 if before is None or others.exists() else min(2 * before, MOST_AT_ONCE)
