"""Messages for which no key of this machine decrypts what they need: they wait, and are told of."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from math import inf

from flows.plan import step_plan
from flows.store import DeliveryResult, HeldMessage
from flows.tasks.unreadable import UnreadableChannel
from flows.worker.redelivery import put_aside
from flows.worker.results import ended_now

logger = logging.getLogger(__name__)

# How long such a message waits until it is tried again.
UNREADABLE_DELAY = timedelta(seconds=30)
# The log says at most so often that a key is missing, however many messages need it.
LOG_AGAIN_SECONDS = 60.0
# The broker is told so often, unless the queue is to rest.
TELL_AGAIN_SECONDS = 5.0

_logged_at: dict[str, float] = {}


def unread(held: HeldMessage, why: str) -> DeliveryResult:
    """Let a message wait where no key decrypts what it needs: others may have it, or soon will."""
    now = time.monotonic()
    is_news = now - _logged_at.get(why, -inf) > LOG_AGAIN_SECONDS
    if is_news:
        _logged_at[why] = now
    level = logging.ERROR if is_news else logging.DEBUG
    logger.log(level, "message %s of run %s waits. %s", held.id, held.run_id, why)
    held.unreadable = why
    return ended_now(held, put_aside(UNREADABLE_DELAY))


class Unreadable:
    """What this process could not read. It tells its cluster's broker, where it has one."""

    def __init__(self, channel: UnreadableChannel | None = None) -> None:
        self.channel = channel
        self._told_at: dict[tuple[int, str], float] = {}

    def note(self, stored: Sequence[DeliveryResult], rests: bool) -> None:
        """Tell of those that a commit has put off. `rests`: their queue is to rest."""
        if self.channel is None:
            return
        clock = time.monotonic()
        found = {(step_plan(e.held.step_id).queue_id, e.held.unreadable) for e in stored}
        for queue_id, why in found:
            is_news = clock - self._told_at.get((queue_id, why), -inf) > TELL_AGAIN_SECONDS
            if why and (is_news or rests):
                self._told_at[queue_id, why] = clock
                self.channel.send(queue_id, why, rests)
