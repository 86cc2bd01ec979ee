"""Callables that run within the transaction of a commit: their writes are stored with it, or not.

The session's thread runs them anew at every try of the commit, for what an earlier try wrote is
rolled back. Each has a savepoint, and an exception rolls back to it. Some exceptions roll the whole
transaction back: one that may have come anywhere, because the function's time was up, and one after
which the transaction cannot go on. Then the commit is tried again with the result of that function.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from django.db import connection, transaction

from flows.disposition import Disposition
from flows.plan import StepPlan
from flows.store import DeliveryResult, HeldMessage, store
from flows.store.flow_state import forget_pending
from flows.store.types import without_output, without_writes
from flows.worker.redelivery import failed
from flows.worker.results import released, result_of_call
from flows.worker.unreadable import unread
from scripts.callables.calls import CallableCall
from scripts.callables.leftovers import Leftovers, apart, drop_connections, renew, uses_of
from scripts.callables.watchdog import Limit, watchdog
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call
from scripts.protocol.envelope import plain_text
from scripts.protocol.wire import MAX_TEXT_LENGTH

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# What psycopg calls a connection in a transaction that has not failed.
INTRANS = 2

# The longest time of a function, whatever its time limit: other sessions wait for its locks,
# and on SQLite for the only one there is.
MOST_SECONDS = 2.0
# No further function begins in a transaction that is this old.
TRANSACTION_SECONDS = 0.5


class TransactionSpoiled(Exception):
    """The transaction has to be rolled back and tried again, with the result of a function."""

    def __init__(self, done: DeliveryResult) -> None:
        self.done = done
        super().__init__(self.__doc__)


class TransactionalCallables:
    """Those that a session runs within its commits. `ran`: in the latest try of one."""

    def __init__(self, hosts: HostPool) -> None:
        self.hosts = hosts
        self.ran: list[DeliveryResult] = []
        self.begun_at = 0.0

    def begin(self) -> None:
        """Begin a try of a commit. What the last try has left was rolled back, so its callables
        must not read it in this one.
        """
        for done in self.ran:
            forget_pending(done)
        self.ran = []
        self.begun_at = time.monotonic()

    def end(self) -> None:
        """Take note that it was made."""
        self.ran = []

    def run(self, plan: StepPlan, call: Call, held: HeldMessage) -> DeliveryResult:
        """Run one in the transaction that is open, if it is not too much. Raises
        TransactionSpoiled.
        """
        age = time.monotonic() - self.begun_at
        if self.ran and age > TRANSACTION_SECONDS:
            return released(held)
        running = CallableCall(plan.program, plan.site, call, MOST_SECONDS)
        hooks_before = len(connection.run_on_commit)
        outcome = running.outcome(around=in_savepoint)
        if call.unreadable:
            done = unread(held, call.unreadable, has_run=True)
        else:
            done = result_of_call(held, outcome)
        self.ran.append(done)
        self.hosts.learn_pace(plan.program, done.finished_at - done.started_at)
        if running.limit.is_hit or connection.needs_rollback or connection.closed_in_transaction:
            raise TransactionSpoiled(done)
        guard_hooks(hooks_before, running.limit)
        if outcome.error is None and done.disposition is not Disposition.ACCEPTED:
            # Its result is too large, or it went where its message may not go.
            return without_writes(done)
        return done


def refused(done: DeliveryResult, error: Exception) -> DeliveryResult:
    """Return what becomes of a message whose callable's writes the database has refused."""
    text = plain_text(f"{type(error).__name__}: {error}", MAX_TEXT_LENGTH)
    return replace(without_output(done), decision=failed(text))


def in_savepoint(run: Callable[[], Result]) -> Result:
    with transaction.atomic():
        result = run_wholly(run)
    if connection.closed_in_transaction:
        raise RuntimeError("It has closed the connection, and with it ended the transaction.")
    return result


def run_wholly(run: Callable[[], Result]) -> Result:
    """Run it so that the transaction, its savepoints and the sessions are as they were before.

    Raises RuntimeError where something that the function has written would not be committed.
    """
    blocks, savepoints = connection.atomic_blocks, connection.savepoint_ids
    depths = len(blocks), len(savepoints)
    wrappers, uses = list(connection.execute_wrappers), uses_of(connection)
    leftovers, guard = Leftovers(), EndGuard()
    connection.execute_wrappers.append(guard)
    fault = ""
    try:
        result = run()
        if len(savepoints) > depths[1]:
            fault = "It has left a transaction open: an atomic block has no end."
        elif connection.needs_rollback and not connection.closed_in_transaction:
            fault = "It has marked the transaction for rollback: what it wrote is not committed."
    finally:
        del blocks[depths[0] :], savepoints[depths[1] :]
        connection.execute_wrappers[:] = wrappers
        put_session_right(guard, uses)
        fault = leftovers.put_right() or fault
    if fault:
        raise RuntimeError(fault)
    return result


class EndGuard:
    """Refuses statements that would end the engine's transaction, and sees changes on SQLite."""

    ENDS = re.compile(
        r"\s*(COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!(\s+(WORK|TRANSACTION))?\s+TO))\b"
        r"|.*;\s*(COMMIT|ROLLBACK)\s*;?\s*$",
        re.IGNORECASE | re.DOTALL,
    )
    CHANGES = re.compile(r"\s*(PRAGMA|ATTACH|DETACH|CREATE\s+TEMP)", re.IGNORECASE)

    def __init__(self) -> None:
        self.has_changed = False

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = str(sql)
        if end := self.ENDS.match(text):
            word = (end[1] or end[4]).upper()
            raise RuntimeError(f"{word} would end the transaction of the hand-over.")
        self.has_changed = self.has_changed or self.CHANGES.match(text) is not None
        return execute(sql, params, many, context)


def put_session_right(guard: EndGuard, uses: object) -> None:
    """Reset a session that was used, on SQLite after the commit where a statement changed it."""
    raw = connection.connection
    if connection.closed_in_transaction or raw is None:
        return
    if connection.vendor == "sqlite":
        if guard.has_changed:
            transaction.on_commit(connection.close)
    # A transaction that has failed is rolled back, and its settings are with it.
    elif uses_of(connection) != uses and raw.info.transaction_status == INTRANS:
        renew(connection)
        store().database.limit_transaction()


def guard_hooks(since: int, limit: Limit) -> None:
    """Let what a function has asked to be called after the commit harm nothing that follows."""
    hooks: list[Any] = connection.run_on_commit
    hooks[since:] = [
        (savepoints, guarded(hook, limit), robust) for savepoints, hook, robust in hooks[since:]
    ]


def guarded(hook: Callable[[], object], limit: Limit) -> Callable[[], None]:
    def call() -> None:
        leftovers = Leftovers()
        own_limit = Limit(limit.seconds, f"on_commit of {limit.what}")
        try:
            watchdog.call(own_limit, apart, hook)
        except BaseException:
            logger.exception("%s failed; its commit stands", own_limit.what)
            if own_limit.is_hit:
                drop_connections()
        if fault := leftovers.put_right():
            logger.error("%s: %s", own_limit.what, fault)

    return call
