"""The exceptions that a Python script raises on purpose. Both are in scope without an import."""

import datetime
import math
from typing import Any


class Retry(Exception):
    """Raised by a script to have its message delivered again."""

    def __init__(self, after: Any = None, reason: str = "") -> None:
        if isinstance(after, str) and not reason and not _is_number(after):
            after, reason = None, after
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = reason


class Reject(Exception):
    """Raised by a script to send its message to the dead letters."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def _is_number(text: str) -> bool:
    """A text with a number is one: settings and headers often come as texts."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(after: Any) -> float | None:
    if after is None:
        return None
    try:
        seconds = after.total_seconds() if isinstance(after, datetime.timedelta) else float(after)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("Retry(after) takes seconds from now, not less than 0")
    return seconds
