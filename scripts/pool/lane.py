"""Where the calls of one step wait for a host."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from scripts.pool.group import MAX_GROUP_BYTES, Group
from scripts.protocol.calls import Call, CallSite, Program

if TYPE_CHECKING:
    from scripts.pool.host_client import HostClient

MAX_GROUP_CALLS = 500


class Lane:
    """The waiting calls of one step, and the hosts that are busy with the step."""

    def __init__(self, program: Program, site: CallSite) -> None:
        self.program = program
        self.site = site
        self.limit = 1
        self.waiting: deque[Call] = deque()
        self.hosts: list[HostClient] = []
        self._alone = 0

    def next_group(self, most: int, first: int) -> Group:
        """Take a group off the waiting calls: at least one call, at most `most`, not too big."""
        if self._alone:
            self._alone -= 1
            most = 1
        return Group(self.site, self._take(min(most, MAX_GROUP_CALLS)), first)

    def has_next_calls(self) -> bool:
        """Whether each of its hosts has a call beyond the one that it runs, or gets one."""
        if self.waiting:
            return True
        return bool(self.hosts) and all(host.in_flight > 1 for host in self.hosts)

    def requeue(self, calls: list[Call]) -> None:
        """Let calls wait again, before all others."""
        self.waiting.extendleft(reversed(calls))

    def requeue_alone(self, calls: list[Call]) -> None:
        """Requeue calls, one of them harmful, each in a group of its own: that shows which one."""
        self.requeue(calls)
        self._alone = max(self._alone, len(calls))

    def withdraw(self, keys: set[Any]) -> list[Call]:
        """Take off and return the waiting calls with these keys."""
        withdrawn = [call for call in self.waiting if call.key in keys]
        self.waiting = deque(call for call in self.waiting if call.key not in keys)
        return withdrawn

    def _take(self, most: int) -> list[Call]:
        waiting = self.waiting
        calls = [waiting.popleft()]
        room = MAX_GROUP_BYTES - len(calls[0].body)
        while waiting and len(calls) < most:
            room -= len(waiting[0].body)
            if room < 0:
                break
            calls.append(waiting.popleft())
        return calls
