"""The script hosts of a pool: started through the zygote, kept warm while idle, ended."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from scripts.pool.host_client import HostClient
from scripts.pool.zygote_client import SharedZygote, ZygoteClient
from scripts.protocol.calls import Program

if TYPE_CHECKING:
    from scripts.pool.services import GivenTable

IDLE_SECONDS = 60.0
# With more hosts than this, idle ones end soon; so do they with more hosts of one program than
# cores, where its calls are fast.
MAX_HOSTS = 64
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
IDLE_SECONDS_IN_A_CROWD = 1.0


class Hosts:
    """The hosts of one pool, by number.

    A busy host calls `on_host_event` when it has something to read or room to write. The zygote
    calls `on_zygote_event` when hosts have ended.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        uids: tuple[int, int] | None,
        allow_unsandboxed: bool,
        on_host_event: Callable[[HostClient, int], None],
        on_zygote_event: Callable[[int], None],
        shared_zygote: SharedZygote | None = None,
        cores: int = CORES,
    ) -> None:
        self.cores = cores
        self._selector = selector
        self._uids = uids
        self._allow_unsandboxed = allow_unsandboxed
        self._on_host_event = on_host_event
        self._on_zygote_event = on_zygote_event
        self._shared_zygote = shared_zygote
        self.zygote: ZygoteClient | None = None
        self._numbers = count(1)
        self._by_number: dict[int, HostClient] = {}
        self._idle: dict[Program, list[HostClient]] = {}

    def __iter__(self) -> Iterator[HostClient]:
        return iter(list(self._by_number.values()))

    def __contains__(self, host: HostClient) -> bool:
        return self._by_number.get(host.number) is host

    def idle(self) -> list[HostClient]:
        """Return the hosts that have nothing to do."""
        return [host for hosts in self._idle.values() for host in hosts]

    def take(self, program: Program, tables: tuple[GivenTable, ...] = ()) -> HostClient:
        """Return an idle host of the program with these tables, or a new one.

        Idle ones with other tables are ended. Raises OSError if none can be made.
        """
        idle = self._idle.get(program, [])
        while idle and idle[-1].tables != tables:
            self.kill(idle.pop())
        host = idle.pop() if idle else self._start(program, tables)
        if host.is_watched and self.zygote is not None:
            self.zygote.stop_watching(host)
            host.is_watched = False
        return host

    def release(self, host: HostClient, clock: float) -> None:
        """Keep a host that has nothing to do warm for its program."""
        host.lane = None
        host.progress_at = clock
        self._idle.setdefault(host.program, []).append(host)

    def watch(self, host: HostClient) -> None:
        """Have the zygote kill an idle host if it computes."""
        if not host.is_watched and self.zygote is not None:
            self.zygote.watch(host)
            host.is_watched = True

    def end_if_idle_for_long(self, host: HostClient, clock: float, is_fast: bool) -> None:
        """Watch an idle host, and kill it after 60 s, or after 1 s where there are many.

        `is_fast`: its program needs no more hosts than there are cores for them.
        """
        idle = self._idle.get(host.program, [])
        if host not in idle:
            return
        self.watch(host)
        same = sum(each.program == host.program and not each.is_terminating for each in self)
        is_crowded = len(self._by_number) > MAX_HOSTS or (is_fast and same > self.cores)
        limit = IDLE_SECONDS_IN_A_CROWD if is_crowded else IDLE_SECONDS
        if clock - host.progress_at > limit:
            idle.remove(host)
            self.kill(host)

    def kill(self, host: HostClient) -> None:
        """Have the zygote kill a host. It is there until the zygote reports its end."""
        host.is_terminating = True
        if self.zygote is not None:
            self.zygote.kill(host)

    def ask(self, host: HostClient) -> None:
        """Have a host tell where its script is."""
        if self.zygote is not None:
            self.zygote.ask(host)

    def ended(self) -> Iterator[tuple[HostClient, int | None, int]]:
        """Yield the hosts that have ended, with their wait status and their peak of memory.

        Where the zygote itself was killed, all its hosts have ended, with no status. The next host
        starts another zygote. The peak is in bytes beyond what each host begins with.
        """
        reports = self.zygote.exits() if self.zygote is not None else None
        if reports is None:
            self._close_zygote()
            for host in self:
                yield host, None, 0
            return
        for number, status, peak_bytes in reports:
            if number in self._by_number:
                yield self._by_number[number], status, peak_bytes

    def forget(self, host: HostClient) -> None:
        """Close the worker's end of a host that has ended."""
        del self._by_number[host.number]
        host.close()
        idle = self._idle.get(host.program, [])
        if host in idle:
            idle.remove(host)
        if not idle:
            self._idle.pop(host.program, None)

    def close(self) -> None:
        """Kill all hosts, in 2 s at most."""
        if self.zygote is not None:
            self.zygote.close()
            self.zygote = None
        for host in self._by_number.values():
            host.close()
        self._by_number.clear()
        self._idle.clear()

    def _start(self, program: Program, tables: tuple[GivenTable, ...]) -> HostClient:
        if self.zygote is None:
            self.zygote = self._open_zygote()
            self._selector.register(
                self.zygote.control, selectors.EVENT_READ, self._on_zygote_event
            )
        number = next(self._numbers)
        host = HostClient(number, program, self._selector, self._on_host_event, tables)
        self._by_number[host.number] = host
        self.zygote.fork(host)
        try:
            host.introduce()
        except OSError:
            self.kill(host)
        return host

    def _open_zygote(self) -> ZygoteClient:
        if self._shared_zygote is not None:
            with suppress(OSError):
                return self._shared_zygote.connect()
        return ZygoteClient(self._uids, self._allow_unsandboxed)

    def _close_zygote(self) -> None:
        if self.zygote is not None:
            self._selector.unregister(self.zygote.control)
            self.zygote.close()
            self.zygote = None
