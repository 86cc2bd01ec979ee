"""What the worker of this process has: its script hosts, and what its cluster tells it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import ceil
from typing import Protocol

from django.conf import settings

from flows.starts.by_scripts import StartService
from flows.worker.measuring import Measuring
from flows.worker.own_cluster import flow_workers
from flows.worker.unreadable import Unreadable
from scripts.callables.service_client import use_start_service
from scripts.callables.threads import CallableThreads
from scripts.host.sandbox import SCRIPT_UIDS
from scripts.pool.host_pool import HostPool
from scripts.pool.hosts import CORES
from scripts.pool.zygote_client import SharedZygote
from scripts.protocol.services import START_SERVICE, Service
from scripts.services.engine import engine_services


class Draining(Protocol):
    """Whether this worker's cluster is stopping."""

    def is_set(self) -> bool: ...


class ThisWorker:
    """The state that all sessions of this process share.

    The cluster sets `draining`, `is_awaited`, `measuring`, `unreadable` and `note_taken` before it
    forks its workers. In another process nothing drains, no task waits for a worker, nothing is
    measured and no broker is told.
    """

    def __init__(self) -> None:
        self.draining: Draining = threading.Event()
        # Whether a task waits for a worker.
        self.is_awaited: Callable[[], bool] = bool
        self.measuring = Measuring()
        self.unreadable = Unreadable()
        # Tells the broker whether a session that it has offered is open, or will not be.
        self.note_taken: Callable[[str, bool], None] = lambda offer, is_open: None
        self._hosts: HostPool | None = None
        self._zygote: SharedZygote | None = None

    def share_zygote(self) -> None:
        """Start the zygote of all workers that this process starts, where none lives."""
        if self._zygote is None or self._zygote.has_ended():
            users = SCRIPT_UIDS if os.geteuid() == 0 else None
            # Where the system lets none be made now, each worker starts its own.
            with suppress(OSError):
                self._zygote = SharedZygote(users, settings.ASYNCENGINE_UNSEALED_SCRIPTS)

    def hosts(self) -> HostPool:
        """Return the script hosts; they stay warm from one task to the next."""
        if self._hosts is None:
            use_start_service(StartService(lets_go=False))
            self._hosts = HostPool(
                services=_services,
                callables=CallableThreads,
                allow_unsandboxed=settings.ASYNCENGINE_UNSEALED_SCRIPTS,
                shared_zygote=self._zygote,
                # Those of the other workers of the cluster want cores, too.
                cores=ceil(CORES / max(flow_workers(), 1)),
            )
        return self._hosts

    def close_hosts(self) -> None:
        """End the script hosts."""
        if self._hosts is not None:
            self._hosts.close()
            self._hosts = None


def _services() -> Mapping[str, Service]:
    return {**engine_services(), START_SERVICE: StartService()}


this_worker = ThisWorker()
