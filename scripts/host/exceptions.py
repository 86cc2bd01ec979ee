"""The exceptions that a Python script raises on purpose. All are in scope without an import."""

import datetime
import math
from typing import Any, SupportsFloat


class Retry(Exception):
    """Raised by a script to have its message delivered again."""

    def __init__(
        self, after: SupportsFloat | str | datetime.timedelta | None = None, reason: str = ""
    ) -> None:
        """Take the time to wait, in seconds if it is a number or a text with one.

        A text that is no number is the reason. Raises ValueError for a time that cannot be.
        """
        if isinstance(after, str) and not reason and not _is_number(after):
            reason, after = after, None
        super().__init__(reason)
        self.after: float | None = _seconds(after, "Retry")
        self.reason = reason


class Wait(Exception):
    """Raised by a script whose message has to wait for something: that is no failure.

    It is delivered again, and no delivery is used up.
    """

    def __init__(
        self,
        after: SupportsFloat | str | datetime.timedelta | None = None,
        reason: str = "",
        state: Any = None,
    ) -> None:
        """Take the time as `Retry` does, and any JSON value that the next attempt is to find."""
        if isinstance(after, str) and not reason and not _is_number(after):
            reason, after = after, None
        super().__init__(reason)
        self.after: float | None = _seconds(after, "Wait")
        self.reason = reason
        self.state = state


class Reject(Exception):
    """Raised by a script to send its message to the dead letters."""

    def __init__(
        self, reason: str = "", code: str | int | None = None, details: Any = None
    ) -> None:
        """Take the reason, a short code that dead letters are found by, and any JSON value."""
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.details = details


def _is_number(text: str) -> bool:
    """Whether a text is a number: settings and headers often come as texts."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(after: Any, name: str) -> float | None:
    if after is None:
        return None
    try:
        seconds = after.total_seconds() if isinstance(after, datetime.timedelta) else float(after)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name}(after) takes seconds from now, not less than 0")
    return seconds
