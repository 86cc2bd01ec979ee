"""Times as text."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: datetime, timespec: str = "microseconds") -> str:
    """Return the time in UTC, as precise as `timespec` of `datetime.isoformat` says."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
