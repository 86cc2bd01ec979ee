"""Read query parameters. Each function raises Problem, which names the parameter."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from flows.api.errors import Problem
from flows.options import can_be_a_name

# As RFC 3339 has it; a "+" that was not escaped arrives as a space.
RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+ -]\d\d:\d\d)", flags=re.ASCII
)


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


def matching(rows: QuerySet[Any], **values: Any) -> QuerySet[Any]:
    """Return the rows that have these values. A value of None is ignored."""
    return rows.filter(**{name: value for name, value in values.items() if value is not None})
