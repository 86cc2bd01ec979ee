"""The times of a cron expression, in a time zone, as Debian's cron has them.

Where clocks go forward, what the gap would leave out comes right after it. Where they go back, a
fixed hour comes once, and a step of minutes all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = "five fields (minute, hour, day of month, month, day of week), or six with seconds first"
MINUTE = timedelta(minutes=1)


class CronInvalid(ValueError):
    """The text is no cron expression or no time zone, or names a time that never comes."""


def zone_named(name: str) -> ZoneInfo:
    """Return the time zone of a name. Raises CronInvalid."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise CronInvalid(f"There is no time zone {name!r}.") from error


class CronTimes:
    """The times of one expression, all in UTC."""

    def __init__(self, expression: str, zone: str) -> None:
        """Raises CronInvalid. An expression of six fields begins with the seconds."""
        self._zone = zone_named(zone)
        try:
            self._seconds = sorted(CronSim(expression, datetime(2000, 1, 1)).seconds)
        except CronSimError as error:
            said = f"{expression!r} is no cron expression: {error}. It has {FIELDS}."
            raise CronInvalid(said) from error
        # The rules for changes of the clock are those of expressions without seconds.
        self._of_minutes = " ".join(expression.split()[-5:])

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after a moment; None where none comes in 50 years."""
        return next(self.since(moment), None)

    def since(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after a moment, the next one first."""
        for minute in self._minutes(moment - MINUTE):
            for second in self._seconds:
                if (time := minute + timedelta(seconds=second)) > moment:
                    yield time

    def before(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times up to a moment, the last one first."""
        for minute in self._minutes(moment + MINUTE, reverse=True):
            for second in reversed(self._seconds):
                if (time := minute + timedelta(seconds=second)) <= moment:
                    yield time

    def newest(self, first: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the last times up to now, at most `most`, in order; `first` is one of them."""
        known = takewhile(lambda time: time <= now, self.since(first))
        found = [first, *islice(known, most)]
        if len(found) <= most:
            return found
        return list(islice(self.before(now), most))[::-1]

    def _minutes(self, moment: datetime, reverse: bool = False) -> Iterator[datetime]:
        try:
            for time in CronSim(self._of_minutes, moment.astimezone(self._zone), reverse):
                yield time.astimezone(UTC)
        except OverflowError:
            # The calendar ends there.
            return


def require_times(expression: str, zone: str, now: datetime) -> CronTimes:
    """Return the times of an expression. Raises CronInvalid, also where none comes."""
    times = CronTimes(expression, zone)
    if times.after(now) is None:
        raise CronInvalid(f"{expression!r} names a time that never comes.")
    return times
