"""How many messages a session takes at once."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plan import StepPlan
from flows.store.types import BATCH_SECONDS
from scripts.pool.host_pool import HostPool
from scripts.pool.hosts import CORES
from scripts.protocol.calls import Call

BATCH_MESSAGES = 500
# How long a commit takes, generously.
COMMIT_SECONDS = 0.015
BATCH_BYTES = 8 * 1024 * 1024


class BatchSizes:
    """Sizes of batches, by how long the calls of a script take and how large its messages are."""

    def __init__(self, hosts: HostPool) -> None:
        self._hosts = hosts
        self._bytes_per_message = 1.0

    def size(self, plan: StepPlan, threads: int) -> int:
        """Return one message a thread for slow scripts and unknown ones, many for fast ones.

        There is room for what runs, and for what the threads begin while a commit is under way.
        """
        seconds = self._hosts.seconds_per_call(plan.program)
        if plan.program.in_transaction:
            # They run one after the other.
            threads = 1
        if seconds is None:
            return threads
        seconds = max(seconds, 1e-6)
        fitting = min(
            max(
                BATCH_SECONDS * min(threads, CORES) / seconds,
                threads * (1 + min(COMMIT_SECONDS / seconds, 1)),
            ),
            BATCH_BYTES / self._bytes_per_message,
            BATCH_MESSAGES,
        )
        return max(int(fitting), threads)

    def note(self, calls: Sequence[Call]) -> int:
        """Learn from calls that are submitted; return their size in bytes."""
        size = sum([len(call.body) for call in calls])
        self._bytes_per_message = max(size / len(calls), self._bytes_per_message * 0.9)
        return size
