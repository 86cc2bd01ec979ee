"""A worker's task: sessions side by side. Each claims, runs scripts, commits, and repeats."""

from __future__ import annotations

import logging
import os
import time

from django.conf import settings
from django.db import connection

from flows.errors import LeaseLost
from flows.processes import give_memory_back, this_machine
from flows.store import Lease, Owner, store
from flows.store.troubles import DATABASE_ERRORS, trouble_of
from flows.worker.own_cluster import own_reach
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from scripts.callables.leftovers import close_left_open
from scripts.pool.host_pool import HostPool

logger = logging.getLogger(__name__)

# How often a busy worker looks for a consumer that the broker has opened for its cluster.
ADOPT_SECONDS = 0.05
# What it has had at once before it gives memory back, which takes time.
LARGE_BYTES = 4 * 1024 * 1024


def consume(consumer_id: int, cluster: str) -> None:
    """Work in a session that is open until nothing is to do: the function of a django-q2 task."""
    close_left_open()
    worker = Worker(this_worker.hosts(), cluster)
    worker.begin(consumer_id)
    worker.work()


def take_offer(offer: str, queue_id: int, threads: int, cluster: str) -> None:
    """Open a session and work until nothing is to do: the function of a django-q2 task."""
    close_left_open()
    worker = Worker(this_worker.hosts(), cluster)
    worker.take(offer, queue_id, threads)
    worker.work()


class Worker:
    """Works on several sessions side by side, so that a slow script delays no other session."""

    def __init__(self, hosts: HostPool, cluster: str) -> None:
        self.hosts = hosts
        self.cluster = cluster
        self.sessions: list[Session] = []
        self.ends_at = time.monotonic() + settings.ASYNCENGINE_SLICE_SECONDS
        self.adopts_at = time.monotonic() + ADOPT_SECONDS
        # Of the largest batch, or output.
        self.most_bytes = 0

    def work(self) -> None:
        """Work on the sessions that have begun, and on those that the broker opens meanwhile, until
        all end.
        """
        try:
            while self.sessions:
                self._collect()
                for session in self.sessions:
                    self._go_on(session)
                self.sessions = [s for s in self.sessions if not s.lease.closed]
                self._adopt_now_and_then()
                self._note_restarts()
                this_worker.measuring.send_now_and_then()
        finally:
            # After a surprise their leases run out, and what they held is delivered again.
            for session in self.sessions:
                session.forget()
            this_worker.measuring.send()
            if self.most_bytes > LARGE_BYTES:
                give_memory_back()
            self.hosts.watch_idle_hosts()

    def begin(self, consumer_id: int) -> None:
        try:
            lease = store().begin(consumer_id, os.getpid())
        except LeaseLost:
            logger.debug("consumer %s was begun by another or has ended", consumer_id)
            return
        except DATABASE_ERRORS as error:
            require_trouble(error)
            logger.info("consumer %s was not begun: %s", consumer_id, error)
            connection.close()
            return
        self._add(Session(lease, self.hosts))

    def take(self, offer: str, queue_id: int, threads: int) -> None:
        """Open a session with its first claim, and tell the broker that its offer was taken."""
        owner = Owner(self.cluster, this_machine(), os.getpid())
        self._add(Session(Lease(0, queue_id, queue_id, threads), self.hosts, owner))
        this_worker.note_taken(offer, bool(self.sessions))

    def _add(self, session: Session) -> None:
        session.lease.reach = own_reach()
        session.leases_beside = lambda: [s.lease for s in self.sessions if s is not session]
        self._go_on(session)
        if not session.lease.closed:
            self.sessions.append(session)

    def _go_on(self, session: Session) -> None:
        """Go on with a session; after a surprise it ends, and the others do not."""
        try:
            session.go_on(self._may_claim())
        except Exception:
            # Its lease runs out, and what it held is delivered again.
            logger.exception("consumer %s has failed", session.lease.consumer_id)
            session.forget()
        self.most_bytes = max(self.most_bytes, session.most_bytes)

    def _collect(self) -> None:
        until_adoption = max(self.adopts_at - time.monotonic(), 0.0)
        patience = min(until_adoption, *(session.patience() for session in self.sessions))
        if not self.hosts.outstanding():
            time.sleep(patience)
        for outcome in self.hosts.collect(patience):
            session, held_id = outcome.call.key
            session.finish(held_id, outcome)

    def _note_restarts(self) -> None:
        if self.hosts.restarts:
            this_worker.measuring.note_restarts(self.hosts.restarts)
            self.hosts.restarts.clear()

    def _may_claim(self) -> bool:
        """Whether to take new messages: not when the cluster stops or a task needs a worker."""
        if this_worker.draining.is_set():
            return False
        return time.monotonic() < self.ends_at or not this_worker.is_awaited()

    def _adopt_now_and_then(self) -> None:
        """Begin a session that no idle worker is there for. Those with many look less often."""
        clock = time.monotonic()
        if not self.sessions or clock < self.adopts_at or not self._may_claim():
            return
        self.adopts_at = clock + ADOPT_SECONDS * len(self.sessions)
        try:
            opened = store().first_opened(self.cluster)
        except DATABASE_ERRORS as error:
            require_trouble(error)
            # Each session finds out for itself, and knows what to do.
            return
        if opened is not None:
            self.begin(opened)


def require_trouble(error: Exception) -> None:
    """Raise the error unless the database is in trouble."""
    if trouble_of(error) is None:
        raise error
