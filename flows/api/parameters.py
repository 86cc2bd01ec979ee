"""Read query parameters. Each function raises Problem, which names the parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from flows.api.errors import Problem
from flows.errors import OptionInvalid
from flows.models.webhook_url import url_fault
from flows.options import NUMBER, can_be_a_name, read_labels, read_time, read_time_or_seconds

Given = TypeVar("Given")
Read = TypeVar("Read")


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


def whole_number(query: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
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
    return _read(read_time, query.get(name), name)


def seconds(query: dict[str, str], name: str, most: float) -> float:
    """Return a number of seconds, at most that many; 0 where none is given."""
    given = query.get(name, "0")
    if not NUMBER.fullmatch(given):
        raise Problem.of_parameter(name, "must be a number of seconds, 0 or more")
    return min(float(given), most)


def time_or_seconds(query: dict[str, str], name: str) -> datetime | timedelta | None:
    """Return a time, or a duration where a number of seconds is given."""
    return _read(read_time_or_seconds, query.get(name), name)


def url(query: dict[str, str], name: str) -> str | None:
    """Return the address of a webhook."""
    value = query.get(name)
    if value is not None and (fault := url_fault(value)):
        raise Problem.of_parameter(name, fault)
    return value


def labels(values: Iterable[str], name: str = "label") -> dict[str, str]:
    """Return labels by their keys; each is given as `key:value`, and each key once."""
    return _read(read_labels, values, name) or {}


def _read(read: Callable[[Given], Read], given: Given | None, name: str) -> Read | None:
    """Return what a reader of an option makes of it. Raises Problem for OptionInvalid."""
    try:
        return None if given is None else read(given)
    except OptionInvalid as error:
        raise Problem.of_parameter(name, str(error)) from error
