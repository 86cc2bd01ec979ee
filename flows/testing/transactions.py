"""What differs between the transaction of a test and a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from flows.worker.transactional import run_wholly
from scripts.callables.leftovers import Leftovers

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# psycopg's status of a transaction after a failed statement.
INERROR = 3

TAKEN_BACK = (
    "A statement of it has failed within the test's transaction, so that what it wrote is taken"
    " back. Put that statement into transaction.atomic(), or test it in a TransactionTestCase or"
    " with django_db(transaction=True)."
)


def count_starts_at_once() -> None:
    """Count the starts of a test at once, since its transaction never commits.

    On PostgreSQL a deferred trigger counts them with the commit; see flows/store/pending_starts.py.
    """
    if connection.vendor == "postgresql" and connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS flows_starts_are_counted IMMEDIATE")


def hooks_so_far() -> int:
    return len(connection.run_on_commit)


def run_hooks(since: int) -> None:
    """Call the functions that were registered to run after the commit.

    For the engine this is the commit. The transaction of the test never commits.
    """
    while connection.in_atomic_block and len(connection.run_on_commit) > since:
        hook: Any = connection.run_on_commit.pop(since)
        _, function, is_robust = hook
        try:
            function()
        except Exception:
            if not is_robust:
                raise
            logger.exception("%r failed after the commit", function)


def as_if_alone(run: Callable[[], Result]) -> Result:
    """Run a callable as in a worker, where each of its statements commits by itself.

    Within the test's transaction what it wrote before it raises stays, too, unless the database
    goes on with nothing but a rollback.
    """
    if connection.in_atomic_block:
        return _in_savepoint(run)
    leftovers, before = Leftovers(), connections.all(initialized_only=True)
    try:
        result = run()
    finally:
        fault = leftovers.put_right()
        for each in before:
            _restore(each)
    if fault:
        raise RuntimeError(fault)
    return result


def _restore(before: BaseDatabaseWrapper) -> None:
    """Reopen a connection that was dropped because of its state, with a new session.

    The test runner closes this connection before it removes the database.
    """
    if connections[before.alias] is before:
        return
    connections[before.alias].close()
    connections[before.alias] = before
    raw: Any = before.connection
    # Open it before the old one closes: a database in memory ends with its last connection.
    before.connect()
    if raw is not None:
        raw.close()


def _in_savepoint(run: Callable[[], Result]) -> Result:
    # No atomic block: Django refuses the durable blocks of a callable within another block.
    savepoint, since = str(connection.savepoint()), hooks_so_far()
    try:
        result = run_wholly(run)
        run_hooks(since)
    except BaseException as error:
        if not _is_broken():
            transaction.savepoint_commit(savepoint)
            raise
        was_swallowed = _is_own_fault(error)
        connection.set_rollback(False)
        transaction.savepoint_rollback(savepoint)
        del connection.run_on_commit[since:]
        if was_swallowed:
            raise RuntimeError(TAKEN_BACK) from error
        raise
    if _is_broken():
        transaction.savepoint_rollback(savepoint)
        raise RuntimeError(TAKEN_BACK)
    transaction.savepoint_commit(savepoint)
    return result


def _is_broken() -> bool:
    if connection.needs_rollback:
        return True
    raw: Any = connection.connection
    return connection.vendor == "postgresql" and raw.info.transaction_status == INERROR


def _is_own_fault(error: BaseException) -> bool:
    """Return whether `run_wholly` raised the error, because of the state of the transaction."""
    return type(error) is RuntimeError and "marked the transaction" in str(error)
