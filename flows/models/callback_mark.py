"""Ids of runs that have a callback: their last digits say so.

The end of a run finds out from its id alone whether there may be a callback to tell. So runs
without one, which most are, pay for no look-up. Any other id may have the same digits by chance,
one of 65,536, and costs a look-up.
"""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7

MARK = 0xCA11
_DIGITS = f"{MARK:04x}"


def marked_uuid7() -> UUID:
    """Return an id for a run with a callback. The digits that it replaces are random."""
    return UUID(int=uuid7().int >> 16 << 16 | MARK)


def is_marked(run_id: str) -> bool:
    return run_id.endswith(_DIGITS)
