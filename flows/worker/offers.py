"""Sessions that a broker has offered to its workers and that these have not opened yet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from flows.store import Ready

# An offer that no worker has taken after this time is none: the worker may have died.
TAKEN_SECONDS = 3.0


@dataclass(frozen=True)
class Offer:
    queue_id: int
    threads: int
    until: float


class Offers:
    """What one broker has offered: it counts like open sessions."""

    def __init__(self) -> None:
        self._open: dict[str, Offer] = {}

    def make(self, queue_id: int, threads: int) -> str:
        """Return the name of a new offer; no other broker has ever given it."""
        name = uuid4().hex
        self._open[name] = Offer(queue_id, threads, time.monotonic() + TAKEN_SECONDS)
        return name

    def end(self, taken: Iterable[bytes]) -> None:
        """Forget those that were taken, and those that nothing came of."""
        clock, ended = time.monotonic(), {name.decode() for name in taken}
        self._open = {n: o for n, o in self._open.items() if n not in ended and o.until > clock}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._open.values())

    def counted(self, queues: Sequence[Ready]) -> list[Ready]:
        """Return the queues with what is offered of them as granted."""
        if not self._open:
            return list(queues)
        return [self._counted(queue) for queue in queues]

    def _counted(self, queue: Ready) -> Ready:
        own = [offer.threads for offer in self if offer.queue_id == queue.queue_id]
        if not own:
            return queue
        return replace(
            queue,
            granted_threads=queue.granted_threads + sum(own),
            consumers=queue.consumers + len(own),
        )
