"""What happens in one transaction of the hot path, and its SQL for both databases."""

from functools import cache

from django.db import connection

from flows.store.store import Store
from flows.store.types import (
    EVERY_QUEUE,
    DeliveryResult,
    HeldMessage,
    Lease,
    NewRun,
    Owner,
    Reach,
    Ready,
    Seen,
    StartRate,
)

__all__ = [
    "EVERY_QUEUE",
    "DeliveryResult",
    "HeldMessage",
    "Lease",
    "NewRun",
    "Owner",
    "Reach",
    "Ready",
    "Seen",
    "StartRate",
    "Store",
    "store",
]


def store() -> Store:
    """Return the store of the configured database."""
    return _store(connection.vendor)


@cache
def _store(vendor: str) -> Store:
    if vendor == "postgresql":
        from flows.store.postgresql import PostgreSQL

        return Store(PostgreSQL())
    from flows.store.sqlite import SQLite

    return Store(SQLite())
