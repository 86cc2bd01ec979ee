"""Ids of runs that have a callback or a deadline: digits of them say so.

A commit finds out from the ids of its runs alone whether there may be a deadline to keep, or a
callback to tell. So runs without them, which most are, pay for no look-up. Any other id may have
the same digits by chance, one of 65,536, and costs a look-up.
"""

from __future__ import annotations

from uuid import UUID

_CALLBACK = 0xCA11
_DEADLINE = 0xDEAD
_DIGITS_OF_CALLBACK = f"{_CALLBACK:04x}"
_DIGITS_OF_DEADLINE = f"{_DEADLINE:04x}"


def marked(id: UUID, *, callback: bool, deadline: bool) -> UUID:
    """Return the id with the marks of what its run has. The digits that they replace are random."""
    number = id.int
    if callback:
        number = number & ~0xFFFF | _CALLBACK
    if deadline:
        number = number & ~0xFFFF0000 | _DEADLINE << 16
    return UUID(int=number)


def has_callback(run_id: str) -> bool:
    """Tell whether a run may have a callback, by its id as a database writes it."""
    return run_id[-4:] == _DIGITS_OF_CALLBACK


def has_deadline(run_id: str) -> bool:
    """Tell whether a run may have a deadline, by its id as a database writes it."""
    return run_id[-8:-4] == _DIGITS_OF_DEADLINE
