"""Which part of a queue's threads is a cluster's own, beside the other clusters that are alive.

Each worker of them is worth the same. A cluster opens sessions up to its part at once, and goes
beyond it where the others leave threads alone for a while. One that comes to a queue whose threads
are all granted has another cluster give up a session that is beyond the part of that one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import ceil
from zlib import crc32

from django.db.models import QuerySet

from flows.models import Consumer, LiveCluster
from flows.store import Reach, Ready, store

# So long the others have the first claim to threads beyond a cluster's part.
OTHERS_SECONDS = 1.0


class Shares:
    """The part of one cluster. It knows the others as they told last."""

    def __init__(self, cluster: str, reach: Reach) -> None:
        self.cluster = cluster
        self.reach = reach
        self.others: list[LiveCluster] = []
        # Since when a queue has had threads that no cluster took.
        self.free_since: dict[int, float] = {}

    def look(self, now: datetime) -> None:
        """Learn which other clusters are alive."""
        self.others = list(LiveCluster.objects.alive(now).exclude(key=self.cluster))

    def workers(self, bound_to: str, own_workers: int) -> int:
        """Return how many workers take the messages of a queue, those of this cluster included."""
        return own_workers + sum(_workers(other, bound_to) for other in self.others)

    def note_free(self, queues: Iterable[Ready]) -> None:
        """Note the queues that have threads to grant and messages for them."""
        clock = time.monotonic()
        self.free_since = {q.queue_id: self.free_since.get(q.queue_id, clock) for q in queues}

    def may_open(self, queue: Ready, granted: int, own_workers: int) -> bool:
        """Whether a session here leaves the others their part; `granted`: what this one has."""
        everyone = self.workers(queue.cluster, own_workers)
        if granted < ceil(queue.threads * own_workers / everyone):
            return True
        return time.monotonic() - self.free_since[queue.queue_id] > OTHERS_SECONDS

    def comes_first(self, queue: Ready) -> bool:
        """Whether this cluster is the first to look at a start in a queue, of all that take it.

        The others leave it alone for a moment: all but one would find nothing.
        """
        others = (other.key for other in self.others if _workers(other, queue.cluster))
        own = _rank(self.cluster, queue.queue_id)
        return all(own < _rank(key, queue.queue_id) for key in others)

    def ask(self, queues: Iterable[Ready], granted: Mapping[int, int], own_workers: int) -> None:
        """Have others leave queues where this cluster has less than its part."""
        if not any(other.workers for other in self.others):
            return
        for queue in queues:
            if self.reach.takes(queue.cluster) and queue.head_step_id is not None:
                part = queue.threads * own_workers // self.workers(queue.cluster, own_workers)
                if granted[queue.queue_id] < part and queue.granted_threads >= queue.threads:
                    self._ask_at(queue, own_workers)

    def spread(self, queues: Iterable[Ready], own_workers: int) -> None:
        """Have a worker that has much give up a session for one that is idle, where messages wait.

        It has several, or one with more threads than are a worker's part.
        """
        waiting = {q.queue_id: q for q in queues if q.head_step_id is not None}
        sessions = Consumer.objects.filter(cluster=self.cluster, pid__isnull=False)
        found = list(sessions.order_by("-threads", "pk"))
        if any(session.leaves for session in found):
            return
        count = Counter(session.pid for session in found)
        for session in found:
            if (queue := waiting.get(session.queue_id)) is None:
                continue
            part = ceil(queue.threads / self.workers(queue.cluster, own_workers))
            if count[session.pid] > 1 or session.threads > part:
                _ask_one_of(Consumer.objects.filter(pk=session.pk))
                return

    def _ask_at(self, queue: Ready, own_workers: int) -> None:
        """Ask the session with most threads, of the cluster that is most beyond its part."""
        consumers = Consumer.objects.filter(queue_id=queue.queue_id)
        sessions = list(consumers.exclude(cluster=self.cluster).order_by("-threads", "pk"))
        if any(session.leaves for session in sessions):
            return
        most = {
            other.key: ceil(queue.threads * _workers(other, queue.cluster) / everyone)
            for everyone in [self.workers(queue.cluster, own_workers)]
            for other in self.others
        }
        beyond: Counter[str] = Counter()
        for session in sessions:
            beyond[session.cluster] += session.threads
        beyond.subtract({key: count for key, count in most.items() if key in beyond})
        [(cluster, threads)] = beyond.most_common(1) or [("", 0)]
        if threads > 0:
            _ask_one_of(consumers.filter(cluster=cluster))


def _ask_one_of(sessions: QuerySet[Consumer]) -> None:
    """Have the session with most threads leave.

    One that is committing is left alone until the next time: it may have frozen, or lost its
    network, and a broker that waits for its lock ends no lease.
    """
    with store().database.transaction():
        free = sessions.select_for_update(skip_locked=True, no_key=True)
        ids = list(free.order_by("-threads", "pk").values_list("pk", flat=True)[:1])
        Consumer.objects.filter(pk__in=ids).update(leaves=True)


def _rank(cluster: str, queue_id: int) -> tuple[int, str]:
    """Return a cluster's place at a queue: clusters share the queues by it."""
    return crc32(f"{queue_id} {cluster}".encode()), cluster


def _workers(cluster: LiveCluster, bound_to: str) -> int:
    """Return how many workers of a cluster take the messages of a queue."""
    takes = cluster.name == bound_to if bound_to else cluster.takes_unbound
    return cluster.workers if takes else 0
