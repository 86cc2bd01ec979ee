"""Keys that are never used twice, and numbers that several processes may take at once."""

from collections.abc import Callable
from secrets import randbits
from typing import TypeVar

from django.db import IntegrityError, transaction

Made = TypeVar("Made")

# The number of tries while other processes take the next number.
ATTEMPTS = 5


def unrepeatable_id() -> int:
    """Return a random key below 2^52, which JavaScript's numbers hold, too.

    SQLite gives the key of a row that was rolled back to the next row, while processes may still
    hold the first one in memory. So the versions of scripts, flows and steps do not get counted
    keys.
    """
    return randbits(52)


def with_next_number(make: Callable[[], Made]) -> Made:
    """Make a row with the number after the last; try again where another process took the number.

    Uses a savepoint, so that the transaction around it goes on.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            with transaction.atomic():
                return make()
        except IntegrityError:
            continue
    return make()
