"""Queues with messages that no key of a cluster decrypts: its workers tell its broker of them.

Workers without the key would claim all that waits, again and again, as fast as the database allows.
So the broker backs off from such a queue, for longer each time: other clusters may have the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from flows.tasks.queue import PacketChannel

FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 0.25, 2.0
# A queue whose workers have found nothing for so long after a back-off has a longer one.
SOON_SECONDS = 1.0
# What was not told of again for so long is over: an unreadable message is tried each 10 s.
OVER_SECONDS = 75.0
# Of the state of a cluster, which has a bound.
MOST_TOLD = 20
MOST_LETTERS = 300


class UnreadableChannel(PacketChannel):
    """Carries what workers could not read to the broker: a queue, why, and whether to back off."""

    def send(self, queue_id: int, why: str, backs_off: bool) -> None:
        self.post(orjson.dumps([queue_id, why[:MOST_LETTERS], backs_off]))

    def received(self) -> Iterator[tuple[int, str, bool]]:
        for packet in self.packets():
            queue_id, why, backs_off = orjson.loads(packet)
            yield queue_id, why, backs_off


@dataclass(slots=True)
class BackOff:
    until: float
    seconds: float


class UnreadableQueues:
    """What a broker knows of them. Times are those of the monotonic clock."""

    def __init__(self) -> None:
        self._back_offs: dict[int, BackOff] = {}
        self._told_at: dict[tuple[int, str], float] = {}

    def note(self, queue_id: int, why: str, backs_off: bool, clock: float) -> None:
        self._told_at[queue_id, why] = clock
        last = self._back_offs.get(queue_id)
        if not backs_off or (last and clock < last.until):
            return
        seconds = FIRST_BACK_OFF_SECONDS
        if last and clock < last.until + SOON_SECONDS:
            seconds = min(2 * last.seconds, LONGEST_BACK_OFF_SECONDS)
        self._back_offs[queue_id] = BackOff(clock + seconds, seconds)

    def backs_off(self, queue_id: int, clock: float) -> bool:
        """Say whether no session is to be opened on the queue now."""
        found = self._back_offs.get(queue_id)
        return found is not None and clock < found.until

    def known(self, clock: float) -> dict[int, str]:
        """Return why messages of queues cannot be read, by the ids of queues."""
        self._told_at = {key: at for key, at in self._told_at.items() if clock - at <= OVER_SECONDS}
        newest = sorted(self._told_at.items(), key=lambda each: each[1])
        return dict([key for key, _ in newest][-MOST_TOLD:])
