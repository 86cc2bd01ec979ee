"""The exceptions that a Python script raises on purpose. All are in scope without an import."""

import datetime
import math
import re
from typing import Any, SupportsFloat, TypeAlias

from scripts.protocol.errors import WrongArgument

After: TypeAlias = SupportsFloat | str | datetime.timedelta | datetime.datetime | None

_TIME = re.compile(r"\s*\d{4}-\d\d-\d\d[T ]")
# A text that is not meant as a number or a time.
_WORDS = re.compile(r"(?!\s*(?:nan|inf|infinity)\s*$)\s*[^\W\d]", re.IGNORECASE)
_MAX_SHOWN = 50
# The longest delay of flows/worker/redelivery.py.
MAX_DAYS = 366
_MAX_SECONDS = MAX_DAYS * 86_400


class Retry(Exception):
    """Raised by a script to have its message delivered again."""

    def __init__(self, when: After = None, /, reason: str = "", *, after: After = None) -> None:
        """Take the time to wait, in seconds if it is a number or a text with one, or its end.

        The end is a time with its zone, also as an ISO text. A text alone that begins with no digit
        is the reason, but not under the name `after`. Raises ValueError for what is no time.
        """
        if isinstance(when, str) and not reason and _WORDS.match(when):
            reason, when = when, None
        if when is not None and after is not None:
            raise WrongArgument("Retry(after) takes one time")
        super().__init__(reason)
        self.after: float | None = _seconds(after if when is None else when, "Retry")
        self.reason = reason


class Wait(Exception):
    """Raised by a script whose message has to wait for something: that is no failure.

    It is delivered again, and no delivery is used up.
    """

    def __init__(self, after: After = None, reason: str = "", state: Any = None) -> None:
        """Take the time as `Retry` does, and any JSON value that the next attempt is to find."""
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


def _seconds(after: Any, name: str) -> float | None:
    if after is None:
        return None
    try:
        seconds = _from_now(after)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise WrongArgument(_refused(after, name))
    if seconds > _MAX_SECONDS:
        raise WrongArgument(
            f"{name}(after) takes at most {_MAX_SECONDS} seconds from now ({MAX_DAYS} days), not"
            f" {seconds:.0f}; a time is given as a datetime or an ISO text"
        )
    return seconds


def _from_now(after: Any) -> float:
    """Return the seconds from now on. Raises for what is neither a duration nor a time."""
    if isinstance(after, datetime.timedelta):
        return after.total_seconds()
    if isinstance(after, str) and _TIME.match(after):
        after = datetime.datetime.fromisoformat(after.strip())
    if isinstance(after, datetime.datetime):
        # One without a zone raises. One that is over is now.
        return max(0.0, (after - datetime.datetime.now(datetime.UTC)).total_seconds())
    return math.nan if isinstance(after, bool) else float(after)


def _refused(after: Any, name: str) -> str:
    said = f"{name}(after) takes seconds from now, not less than 0, or a time with its zone"
    if not isinstance(after, str):
        return said
    shown = after if len(after) <= _MAX_SHOWN else after[:_MAX_SHOWN] + "…"
    return f"{said}, not {shown!r}; a reason is given as {name}(reason=…)"
