"""Durations as people write them: `100 ms`, `1.5 s`, `5 min`, `1 h 30 min`, `30 d`."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_duration as parse_django_duration
from unfold.widgets import UnfoldAdminTextInputWidget

UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
ALIASES = {
    "µs": "us",
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "m": "min",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
}
PART = r"(\d+(?:\.\d+)?)\s*([a-zµ]+)"
# Without a unit; zero needs none.
NUMBER = re.compile(r"[+-]?(?=.*[1-9])\d*[.,]?\d+")
# A clock cannot be moved by more than this without leaving the calendar.
LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta | None:
    """Return the duration, None where the text is not one. Django's own formats count too."""
    text = text.strip().lower()
    if not text:
        return None
    if re.fullmatch(rf"(?:{PART}[\s,]*)+", text):
        return _add_parts(re.findall(PART, text))
    try:
        return parse_django_duration(text.upper() if text.startswith("p") else text)
    except OverflowError:
        return None


def _add_parts(parts: list[tuple[str, str]]) -> timedelta | None:
    total = Decimal(0)
    for number, name in parts:
        unit = UNITS.get(ALIASES.get(name, name))
        if unit is None:
            return None
        total += Decimal(number) * (unit // timedelta(microseconds=1))
    try:
        return timedelta(microseconds=int(total.to_integral_value()))
    except OverflowError:
        return None


def format_duration(value: timedelta) -> str:
    """Return text that `parse_duration` reads as the same duration."""
    if value < timedelta(0):
        return str(value)
    if timedelta(0) < value < timedelta(seconds=1):
        return f"{_number(value / timedelta(milliseconds=1))} ms"
    parts = []
    for name in ("d", "h", "min"):
        count, value = divmod(value, UNITS[name])
        if count:
            parts.append(f"{count} {name}")
    if value or not parts:
        parts.append(f"{_number(value.total_seconds())} s")
    return " ".join(parts)


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


class DurationField(forms.DurationField):
    """A duration that is entered and shown as people write it."""

    default_error_messages = {
        "invalid": "Enter a duration such as 100 ms, 1.5 s, 5 min or 30 d.",
        "no_unit": "Write the unit, such as %(number)s ms or %(number)s s.",
        "negative": "A duration cannot be negative.",
        "too_long": f"At most {format_duration(LONGEST)}.",
    }

    def __init__(self, **kwargs: Any) -> None:
        kwargs["widget"] = UnfoldAdminTextInputWidget(
            attrs={"placeholder": "100 ms, 1.5 s, 5 min, 30 d", "autocomplete": "off"}
        )
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return format_duration(value) if isinstance(value, timedelta) else value

    def to_python(self, value: Any) -> timedelta | None:
        if value in self.empty_values or isinstance(value, timedelta):
            return value or None
        if number := NUMBER.fullmatch(str(value).strip()):
            # Django takes it for seconds, and the user of a field that shows "100 ms" does not.
            raise ValidationError(
                self.error_messages["no_unit"], code="no_unit", params={"number": number[0]}
            )
        duration = parse_duration(str(value))
        if duration is None:
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return duration

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and value < timedelta(0):
            raise ValidationError(self.error_messages["negative"], code="negative")
        if value is not None and value > LONGEST:
            raise ValidationError(self.error_messages["too_long"], code="too_long")
