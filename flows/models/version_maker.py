"""Makes versions of flows outside of the caller's transaction, on PostgreSQL.

A start that makes a version in the caller's transaction holds the configuration's lock until its
COMMIT. All transactions that change the configuration or need a version would wait for it. So the
version is made in a short transaction of its own without that lock. If the revision is the same
before and after, the configuration did not change while it was read.

If the caller's transaction has changed the configuration itself, it has the lock already, and only
it can read its changes. SQLite has one writer at a time, and a transaction with a start is one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connection,
    connections,
    transaction,
)

from flows.models.configuration_revision import ConfigurationRevision
from flows.models.flow import Flow
from flows.models.revision_triggers import ADDS_VERSIONS, CHANGES

logger = logging.getLogger(__name__)

# Attempts while other transactions change the configuration or make the same version.
ATTEMPTS = 5
# A new version changes no plan, so the revision stays. The lock on the same flow or script may
# belong to a transaction that waits for the caller, and PostgreSQL does not detect this deadlock.
# So the wait is short, and the caller then makes the version in its own transaction.
SETTINGS = f"SET LOCAL lock_timeout = '1s'; SET LOCAL {ADDS_VERSIONS} = 'on'"

STATE = f"""
    SELECT COALESCE(current_setting('{CHANGES}', true), '') = 'on',
           current_setting('transaction_isolation') = 'read committed'
"""


class Changed(Exception):
    """The configuration has changed while it was read."""


def make_apart(flow: Flow, author: Any = None) -> bool:
    """Make the version of a flow as committed. Return False if that is not possible."""
    if connection.vendor != "postgresql":
        return False
    try:
        if connection.get_autocommit():
            return _make(flow, author)
        return _sees_what_others_commit() and _make(flow, author, beside=True)
    except (DatabaseError, InterfaceError) as error:
        logger.info("the version of the flow %r was not made apart: %s", flow.name, error)
        return False


def _sees_what_others_commit() -> bool:
    """Return whether the transaction sees the configuration as committed, now and later."""
    with connection.cursor() as cursor:
        cursor.execute(STATE)
        [(changes, reads_committed)] = cursor.fetchall()
    return reads_committed and not changes


def _make(flow: Flow, author: Any, beside: bool = False) -> bool:
    with connection_beside() if beside else nullcontext():
        return any(_is_made(flow.pk, author) for _ in range(ATTEMPTS))


def _is_made(flow_id: int, author: Any) -> bool:
    """Try once. Of two transactions that make the same version at the same time, one fails."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(SETTINGS)
            revision = ConfigurationRevision.current()
            Flow.objects.get(pk=flow_id).add_version(author)
            if ConfigurationRevision.current() != revision:
                raise Changed
    except (Changed, IntegrityError):
        return False
    return True


@contextmanager
def connection_beside() -> Iterator[None]:
    """Use another connection in the block. The thread's own one keeps its open transaction."""
    own = connections[DEFAULT_DB_ALIAS]
    other = own.copy()
    # A pool may be empty until the transaction of the caller ends.
    other.settings_dict["OPTIONS"].pop("pool", None)
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = own
        other.close()
