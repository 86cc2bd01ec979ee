"""Read query parameters. Each function raises Problem, which names the parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from flows.api.errors import Problem
from flows.models.run_label import MOST_LABELS
from flows.models.webhook_url import url_fault
from flows.options import can_be_a_name, label_fault

# As RFC 3339 has it; a "+" that was not escaped arrives as a space.
RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+ -]\d\d:\d\d)", flags=re.ASCII
)
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def text(query: dict[str, str], name: str) -> str | None:
    """Return the name of something."""
    value = query.get(name)
    if value == "":
        raise Problem.of_parameter(name, "is empty")
    if value and not can_be_a_name(value):
        raise Problem.of_parameter(name, "has a character that no name has")
    return value


def choice(query: dict[str, str], name: str, known: Collection[str]) -> str | None:
    value = query.get(name)
    if value is None or value in known:
        return value
    raise Problem.of_parameter(name, f"must be one of {', '.join(known)}")


def digit(query: dict[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not re.fullmatch("[0-9]", value):
        raise Problem.of_parameter(name, "must be 0 to 9")
    return int(value)


def whole_number(query: dict[str, str], name: str, least: int, most: int) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    # The length is bounded, for a number of many digits takes long to read.
    if re.fullmatch("[0-9]{1,18}", value) and least <= int(value) <= most:
        return int(value)
    raise Problem.of_parameter(name, f"must be a whole number from {least} to {most}")


def correlation_id(query: dict[str, str], name: str) -> UUID | None:
    """Return the id of a run."""
    given = query.get(name)
    if given is None:
        return None
    found: UUID | None = None
    with suppress(ValueError):
        found = UUID(given)
    if found is None or str(found) != given.lower():
        raise Problem.of_parameter(name, "must be the id of a run")
    return found


def date_time(query: dict[str, str], name: str) -> datetime | None:
    value = query.get(name)
    if value is None:
        return None
    try:
        if not RFC3339.fullmatch(value):
            raise ValueError
        return datetime.fromisoformat(value.upper().replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        example = "2026-11-02T09:30:00Z"
        raise Problem.of_parameter(name, f"must be a time as in {example}") from error


def seconds(query: dict[str, str], name: str, most: float) -> float:
    """Return a number of seconds, at most that many; 0 where none is given."""
    given = query.get(name, "0")
    if not NUMBER.fullmatch(given):
        raise Problem.of_parameter(name, "must be a number of seconds, 0 or more")
    return min(float(given), most)


def time_or_seconds(query: dict[str, str], name: str) -> datetime | timedelta | None:
    """Return a time, or a duration where a number of seconds is given."""
    value = query.get(name)
    if value is None or not NUMBER.fullmatch(value):
        return date_time(query, name)
    try:
        return timedelta(seconds=float(value))
    except OverflowError as error:
        raise Problem.of_parameter(name, "is longer than the calendar") from error


def url(query: dict[str, str], name: str) -> str | None:
    """Return the address of a webhook."""
    value = query.get(name)
    if value is not None and (fault := url_fault(value)):
        raise Problem.of_parameter(name, fault)
    return value


def labels(values: Iterable[str], name: str = "label") -> dict[str, str]:
    """Return labels by their keys; each is given as `key:value`, and each key once."""
    found: dict[str, str] = {}
    for each in values:
        key, colon, value = each.partition(":")
        fault = label_fault(key, value) if colon else "must be key:value"
        if key in found:
            fault = f"the key {key!r} is given more than once"
        if fault:
            raise Problem.of_parameter(name, fault)
        found[key] = value
    if len(found) > MOST_LABELS:
        raise Problem.of_parameter(name, f"a run has at most {MOST_LABELS} labels")
    return found


def matching(rows: QuerySet[Any], **values: Any) -> QuerySet[Any]:
    """Return the rows that have these values. A value of None is ignored."""
    return rows.filter(**{name: value for name, value in values.items() if value is not None})
