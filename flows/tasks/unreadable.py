"""Queues with messages that no key of a cluster decrypts: its workers tell its broker of them.

Workers without the key would claim all that waits, again and again, as fast as the database allows.
So the broker lets such a queue rest, for longer each time, while other clusters may have the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from flows.tasks.queue import PacketChannel

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 0.25, 2.0
# A queue whose workers have found nothing for so long after a rest has a longer one.
SOON_SECONDS = 1.0
# What was not told of again for so long is over: an unreadable message is tried each 10 s.
OVER_SECONDS = 75.0
# Of the state of a cluster, which has a bound.
MOST_TOLD = 20
MOST_LETTERS = 300


class UnreadableChannel(PacketChannel):
    """Carries what workers could not read to the broker: a queue, why, and whether it rests."""

    def send(self, queue_id: int, why: str, rests: bool) -> None:
        self.post(orjson.dumps([queue_id, why[:MOST_LETTERS], rests]))

    def received(self) -> Iterator[tuple[int, str, bool]]:
        for packet in self.packets():
            queue_id, why, rests = orjson.loads(packet)
            yield queue_id, why, rests


@dataclass(slots=True)
class Rest:
    until: float
    seconds: float


class UnreadableQueues:
    """What a broker knows of them. Times are those of the monotonic clock."""

    def __init__(self) -> None:
        self._rests: dict[int, Rest] = {}
        self._told_at: dict[tuple[int, str], float] = {}

    def note(self, queue_id: int, why: str, rests: bool, clock: float) -> None:
        self._told_at[queue_id, why] = clock
        last = self._rests.get(queue_id)
        if not rests or (last and clock < last.until):
            return
        seconds = FIRST_REST_SECONDS
        if last and clock < last.until + SOON_SECONDS:
            seconds = min(2 * last.seconds, LONGEST_REST_SECONDS)
        self._rests[queue_id] = Rest(clock + seconds, seconds)

    def rests(self, queue_id: int, clock: float) -> bool:
        """Say whether no session is to be opened on the queue now."""
        found = self._rests.get(queue_id)
        return found is not None and clock < found.until

    def known(self, clock: float) -> dict[int, str]:
        """Return why messages of queues cannot be read, by the ids of queues."""
        self._told_at = {key: at for key, at in self._told_at.items() if clock - at <= OVER_SECONDS}
        newest = sorted(self._told_at.items(), key=lambda each: each[1])
        return dict([key for key, _ in newest][-MOST_TOLD:])
