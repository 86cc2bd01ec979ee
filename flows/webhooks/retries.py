"""When a delivery that has failed is tried again: for about a day, after growing waits."""

from __future__ import annotations

import email.utils
import random
import re
from datetime import UTC, datetime, timedelta

# The wait after each failed attempt, in seconds; after one more it is given up, a day later.
WAITS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 21_600, 14_400)
ATTEMPTS = len(WAITS) + 1
JITTER = 0.1
# A longer wait that a receiver asks for is cut to this.
LONGEST_RETRY_AFTER = timedelta(hours=1)


def wait_after(attempts: int, asked: timedelta | None = None) -> timedelta | None:
    """Return the wait after this number of failed attempts, None where there is no further one.

    `asked`: what the receiver has asked for; it makes the wait longer, never shorter.
    """
    if attempts >= ATTEMPTS:
        return None
    # Receivers that have failed together are not called together again.
    jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    wait = timedelta(seconds=WAITS[attempts - 1] * jitter)
    return max(wait, min(asked or wait, LONGEST_RETRY_AFTER))


def retry_after(header: str, now: datetime) -> timedelta | None:
    """Read the header Retry-After: seconds or a date. None where it says nothing."""
    text = header.strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return timedelta(seconds=int(text))
    try:
        at = email.utils.parsedate_to_datetime(text)
        return at.replace(tzinfo=at.tzinfo or UTC) - now
    except (TypeError, ValueError, OverflowError):
        return None
