"""Versions of flows that are made apart from the transaction of the caller, on PostgreSQL.

A version that a start makes in the caller's transaction keeps the configuration's lock up to its
COMMIT: all who change the configuration, and all who need a version, would wait for it. So it is
made in a short transaction, which takes no lock that others hold for long: the configuration has
not changed while it was read where its revision is the same before and after.

Where the caller's transaction has changed the configuration itself, it has the lock anyway, and it
alone can make a version of what it has written. SQLite has one writer at a time, which a
transaction with a start is in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

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

# How often it is tried while others change the configuration, or make the same version.
ATTEMPTS = 5
# What it adds changes the plan of no flow, so the revision stays. It waits for those who have the
# same flow or script open, but not for long: the caller, whom they may wait for, then makes the
# version in its own transaction, where PostgreSQL sees who waits for whom.
SETTINGS = f"SET LOCAL lock_timeout = '1s'; SET LOCAL {ADDS_VERSIONS} = 'on'"

STATE = f"""
    SELECT COALESCE(current_setting('{CHANGES}', true), '') = 'on',
           current_setting('transaction_isolation') = 'read committed'
"""


class Changed(Exception):
    """The configuration has changed while it was read."""


def make_apart(flow: Flow) -> bool:
    """Make the version of a flow as it is committed; false where that cannot be done apart."""
    if connection.vendor != "postgresql":
        return False
    try:
        if connection.get_autocommit():
            return _make(flow)
        return _sees_what_others_commit() and _make(flow, beside=True)
    except (DatabaseError, InterfaceError) as error:
        logger.info("the version of the flow %r was not made apart: %s", flow.name, error)
        return False


def _sees_what_others_commit() -> bool:
    """Whether the transaction sees the configuration as it is committed, now and later."""
    with connection.cursor() as cursor:
        cursor.execute(STATE)
        [(changes, reads_committed)] = cursor.fetchall()
    return reads_committed and not changes


def _make(flow: Flow, beside: bool = False) -> bool:
    with connection_beside() if beside else nullcontext():
        return any(_is_made(flow.pk) for _ in range(ATTEMPTS))


def _is_made(flow_id: int) -> bool:
    """Try once. Whoever makes the same version at the same time is faster, or fails."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(SETTINGS)
            revision = ConfigurationRevision.current()
            Flow.objects.get(pk=flow_id).add_version()
            if ConfigurationRevision.current() != revision:
                raise Changed
    except (Changed, IntegrityError):
        return False
    return True


@contextmanager
def connection_beside() -> Iterator[None]:
    """Use another connection within, beside the transaction that is open on the thread's own."""
    own = connections[DEFAULT_DB_ALIAS]
    other = own.copy()
    # One of a pool might wait for those that wait for it.
    other.settings_dict["OPTIONS"].pop("pool", None)
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = own
        other.close()
