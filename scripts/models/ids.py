"""Keys that never come again, and numbers that others may take at the same time."""

from collections.abc import Callable
from secrets import randbits
from typing import TypeVar

from django.db import IntegrityError, transaction

Made = TypeVar("Made")

# How often the next number is taken while others take it.
ATTEMPTS = 5


def unrepeatable_id() -> int:
    """Return a random key below 2^52, which JavaScript's numbers hold, too.

    SQLite gives the number of a row that was rolled back to the next row. Processes keep in memory
    what such a number stood for, so that the versions of scripts, flows and steps are not counted.
    """
    return randbits(52)


def with_next_number(make: Callable[[], Made]) -> Made:
    """Make a row with the number after the last; make it anew where another took that number.

    In a savepoint, for the transaction around it goes on.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            with transaction.atomic():
                return make()
        except IntegrityError:
            continue
    return make()
