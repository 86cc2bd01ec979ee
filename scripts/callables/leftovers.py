"""Restores the state of a thread after a callable, before other code runs there."""

from __future__ import annotations

import decimal
import logging
from collections.abc import Callable
from contextvars import copy_context
from threading import current_thread, main_thread
from typing import Any, TypeVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a copy of the thread's context, so that its settings end with it.

    Django keeps the language, the time zone, the URLconf and the script prefix there.
    """
    return copy_context().run(_with_own_decimals, function, *arguments)


def _with_own_decimals(function: Callable[..., Result], *arguments: Any) -> Result:
    # The copied context still refers to the thread's decimal context, which can be changed.
    with decimal.localcontext():
        return function(*arguments)


class Leftovers:
    """The state of a thread's connections before a callable runs, to be restored afterwards.

    A transaction that was open before, as that of a commit or a test, stays open.
    """

    def __init__(self) -> None:
        opened = connections.all(initialized_only=True)
        self._others = {each.alias for each in opened if is_in_transaction(each)}
        self._before = {
            each.alias: (each, uses_of(each), list(each.execute_wrappers), each.force_debug_cursor)
            for each in self._own()
        }

    def put_right(self) -> str:
        """Reset or drop the connections. Return the fault of uncommitted work, "" for none."""
        left_open = []
        for each in self._own():
            if is_in_transaction(each):
                left_open.append(repr(each.alias))
                drop(each)
            else:
                self._renew(each)
        if not left_open:
            return ""
        return (
            f"It has left a transaction open on {', '.join(left_open)}: what it wrote there is not"
            " committed."
        )

    def _own(self) -> list[BaseDatabaseWrapper]:
        return [c for c in connections.all(initialized_only=True) if c.alias not in self._others]

    def _renew(self, connection: BaseDatabaseWrapper) -> None:
        """Drop a connection that may have been changed and cannot be reset."""
        before, uses, wrappers, debugs = self._before.get(connection.alias, (None, None, [], False))
        if connection is not before and connection.execute_wrappers:
            drop(connection)
            return
        connection.execute_wrappers[:] = wrappers
        connection.force_debug_cursor = debugs
        if connection.connection is None or holds_memory(connection):
            return
        if uses is None or uses_of(connection) != uses:
            _renew_or_drop(connection)


def close_left_open() -> None:
    """Close connections that a task has left in a transaction that it began by hand."""
    for each in connections.all(initialized_only=True):
        if is_in_transaction(each) and not each.in_atomic_block:
            logger.error("a task has left a transaction open on %r: it is undone", each.alias)
            each.close()


def put_connections_right() -> None:
    """Reset or drop the connections of this thread after code that may have changed them all."""
    for each in connections.all(initialized_only=True):
        if is_in_transaction(each):
            logger.error("a task has left a transaction open on %r: it is undone", each.alias)
            drop(each)
        elif each.connection is not None and not holds_memory(each):
            each.execute_wrappers.clear()
            each.force_debug_cursor = False
            _renew_or_drop(each)


def drop_connections() -> None:
    """Close this thread's database connections, whatever state an exception has left them in."""
    connections.close_all()
    for each in connections.all(initialized_only=True):
        del connections[each.alias]


def _renew_or_drop(connection: BaseDatabaseWrapper) -> None:
    if not hasattr(connection, "renew"):
        drop(connection)
        return
    try:
        renew(connection)
    except Exception as error:
        logger.info("the connection %r was not reset: %s", connection.alias, error)
        drop(connection)


def renew(connection: BaseDatabaseWrapper) -> None:
    """Reset the session of a connection, whose backend must know how."""
    connection.renew()  # type: ignore[attr-defined]


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether work is uncommitted, known to Django or to the driver only."""
    if connection.in_atomic_block:
        return True
    raw: Any = connection.connection
    if raw is None:
        return False
    if connection.vendor == "postgresql":
        return not raw.closed and raw.info.transaction_status != 0
    if connection.vendor == "sqlite":
        return bool(raw.in_transaction)
    return not connection.get_autocommit()


def holds_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether an SQLite database in memory would be lost without this connection."""
    is_in_memory = getattr(connection, "is_in_memory_db", None)
    return bool(is_in_memory and is_in_memory()) and current_thread() is main_thread()


def uses_of(connection: BaseDatabaseWrapper) -> object:
    """Return a value that changes with each use of the connection; None: uses are not counted."""
    raw: Any = connection.connection
    return (raw, raw.uses) if hasattr(raw, "uses") else None


def drop(connection: BaseDatabaseWrapper) -> None:
    """Close a connection, whatever state it is in; the next use of its alias opens a new one."""
    try:
        connection.close()
        if connection.vendor == "sqlite" and connection.connection is not None:
            # Django does not close a database in memory.
            connection.connection.rollback()
    except Exception as error:
        logger.info("the connection %r was not closed: %s", connection.alias, error)
    del connections[connection.alias]
