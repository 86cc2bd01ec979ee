"""Zygotes that outlive the pools of tests: to start one takes longer than most tests."""

from __future__ import annotations

import select
import selectors
from collections.abc import Iterator
from typing import Any

from scripts.pool.host_client import HostClient
from scripts.pool.host_pool import HostPool
from scripts.pool.zygote_client import ZygoteClient
from tests.waiting import PATIENCE


class Zygotes:
    """Those that no pool has now."""

    def __init__(self) -> None:
        self.free: list[KeptZygote] = []

    def lend_to(self, pool: HostPool) -> None:
        """Have a new pool fork its hosts from a zygote that is there, until the pool is closed."""
        facts = (pool._uids, pool._allow_unsandboxed)
        living = [each for each in self.free if each.facts == facts and each.is_alive()]
        if living:
            self.free.remove(living[0])
        zygote = living[0] if living else KeptZygote(self.free, *facts)
        pool._hosts.zygote = zygote
        pool._selector.register(zygote.control, selectors.EVENT_READ, pool._on_zygote_event)

    def end(self) -> None:
        for zygote in self.free:
            zygote.end()


class KeptZygote(ZygoteClient):
    """A zygote that ends its hosts when a pool closes it, and is free for the next pool."""

    def __init__(self, free: list[KeptZygote], *facts: Any) -> None:
        super().__init__(*facts)
        self.facts = facts
        self._free = free
        # The hosts whose end it has not reported, by number.
        self._hosts: dict[int, HostClient] = {}

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, host: HostClient) -> None:
        self._hosts[host.number] = host
        super().fork(host)

    def exits(self) -> Iterator[tuple[int, int, int]] | None:
        reports = super().exits()
        if reports is None:
            return None
        ended = list(reports)
        for number, _, _ in ended:
            self._hosts.pop(number, None)
        return iter(ended)

    def close(self) -> None:
        """End its hosts, and itself where it does not report their end."""
        for host in self._hosts.values():
            self.kill(host)
        readiness = select.poll()
        readiness.register(self.control, select.POLLIN)
        while self._hosts:
            if not readiness.poll(PATIENCE * 1000) or self.exits() is None:
                self.end()
                return
        self._free.append(self)

    def end(self) -> None:
        super().close()
