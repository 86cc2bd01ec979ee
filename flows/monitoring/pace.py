"""How soon a full queue has room again, for the callers that it refuses.

Only a refusal asks. What was found holds for a moment in this process, so that refusals in numbers
cost no query each.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from django.db import DatabaseError, InterfaceError, connection

from flows.errors import QueueFull, QueueFullAtCommit
from flows.models import Queue
from flows.monitoring.curves import MINUTES, curves
from flows.monitoring.kept import Kept
from flows.monitoring.wait_reason import QueueSnapshot

logger = logging.getLogger(__name__)

# Where nothing is known yet, and the most that is said.
LEAST_SECONDS = 1
MOST_SECONDS = 300
# Of a queue that is paused, or from which nothing has gone for as long: it depends on people.
STANDING_SECONDS = 60
# Callers that were refused together do not come back together.
JITTER = 0.2
# What is longer than this has jitter; a second more or less is much of a shorter one.
LEAST_WITH_JITTER = 5
# What a step counts for a message that leaves its queue.
ENDS = ("completed", "letters", "cancelled")

_shared = Kept(1.0)
_chance = random.SystemRandom()


def tell_when(error: QueueFull) -> None:
    """Say in the error when to try again, by the pace of its queue."""
    if seconds := retry_after(error.queue_id):
        error.retry_after = seconds


def retry_after(queue_id: int | None) -> int | None:
    """Return when to try again, None where the pace of the queue cannot be read."""
    if queue_id is None or connection.needs_rollback:
        return None
    try:
        seconds = _shared.read(queue_id, partial(seconds_until_room, queue_id))
    except (DatabaseError, InterfaceError):
        # The caller gets the refusal in any case.
        logger.warning("The pace of a queue could not be read.", exc_info=True)
        return None
    return with_jitter(seconds, _chance.random())


QueueFullAtCommit.seconds_of_queue = staticmethod(retry_after)


@contextmanager
def telling_when() -> Iterator[None]:
    """Have the refusal of a full queue in the block say when to try again."""
    try:
        yield
    except QueueFull as error:
        tell_when(error)
        raise


def with_jitter(seconds: float, chance: float) -> int:
    """Return whole seconds within the limits; `chance` is from 0 to 1."""
    if seconds >= LEAST_WITH_JITTER:
        seconds *= 1 + JITTER * chance
    return min(max(math.ceil(seconds), LEAST_SECONDS), MOST_SECONDS)


def seconds_until_room(queue_id: int) -> float:
    """Return the time in which a message leaves the queue, as in this minute and the last one."""
    snapshot = QueueSnapshot(Queue.objects.filter(pk=queue_id))
    queue, now = snapshot.queues.get(queue_id), snapshot.now
    if queue is None:
        return LEAST_SECONDS
    if snapshot.why_paused(queue_id):
        return STANDING_SECONDS
    if step := queue.fed_step:
        names = step.flow.name, step.name
        curve = curves(MINUTES, now, names[:1], names[1:], with_durations=False)[names]
        if left := sum(curve.total(event, slots=2) for event in ENDS):
            return (60 + now.second) / left
    oldest_at = snapshot.oldest_at(queue_id)
    if oldest_at and oldest_at <= now - timedelta(seconds=STANDING_SECONDS):
        return STANDING_SECONDS
    return LEAST_SECONDS
