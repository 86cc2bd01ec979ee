"""UUIDv7 and time: the first 48 bits are milliseconds, so a range of time is one of the key."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

MOST_MILLISECONDS = 2**48 - 1


def first_uuid7(at: datetime, later: timedelta = timedelta(0)) -> UUID:
    """Return the smallest UUIDv7 of the time, or of one that much later.

    For a time that no UUIDv7 can have it is the nearest. The sum may lie outside of the years that
    a datetime can have.
    """
    milliseconds = int((at.timestamp() + later.total_seconds()) * 1000)
    return UUID(int=min(max(milliseconds, 0), MOST_MILLISECONDS) << 80)
