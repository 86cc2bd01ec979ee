"""The calls that go to a host together, in one frame."""

import time

import orjson

from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite

MAX_GROUP_BYTES = 1024 * 1024


class Group:
    """The calls of one frame, in their order.

    The first `done` of them are answered. Those from `kept` on were taken back from the host.
    """

    __slots__ = ("calls", "done", "first", "kept", "sent_at", "site")

    def __init__(self, site: CallSite, calls: list[Call], first: int) -> None:
        self.site = site
        self.calls = calls
        self.first = first
        self.done = 0
        self.kept = len(calls)
        self.sent_at = time.time()

    def is_call_alone(self, number: int) -> bool:
        """Whether the group was made of this call alone."""
        return number == self.first and len(self.calls) == 1

    def take_back_after(self, number: int) -> list[Call]:
        """Take back and return the calls after this number."""
        kept = min(self.kept, max(self.done, number - self.first + 1))
        taken = self.calls[kept : self.kept]
        self.kept = kept
        return taken

    def frame(self) -> bytes:
        """Return the group as `wire.py` defines it."""
        site = self.site
        head = orjson.dumps(
            {
                "site": (site.flow, site.step, site.queue, site.is_last, site.goes_to),
                "calls": [
                    (c.correlation_id, c.attempt, c.delivery_id, len(c.body), c.start_by, c.waits)
                    for c in self.calls
                ],
            }
        )
        bodies = b"".join([call.body for call in self.calls])
        return wire.HEAD.pack(len(head), len(bodies)) + head + bodies
