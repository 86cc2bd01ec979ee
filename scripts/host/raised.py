"""The exceptions that a Python script raises on purpose. Both are in scope without an import."""

import datetime
import math
from typing import Any


class Retry(Exception):
    """Raised by a script to have its message delivered again."""

    def __init__(self, after: Any = None, reason: str = "") -> None:
        if isinstance(after, str):
            after, reason = None, after
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = reason


class Reject(Exception):
    """Raised by a script to send its message to the dead letters."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def _seconds(after: Any) -> float | None:
    if after is None:
        return None
    seconds = after.total_seconds() if isinstance(after, datetime.timedelta) else float(after)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("Retry(after) takes seconds from now, not less than 0")
    return seconds
