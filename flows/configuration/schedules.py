"""The schedules of a flow in its entry of the document: rows as entries, and back.

Keys are in an entry only where they are set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

from flows.configuration.rows import SECOND, in_units, same, sorted_keys
from flows.models import Flow, FlowSchedule

# The columns by their keys; the jitter is in seconds, and the payload JSON.
COLUMNS = {
    "name": "name",
    "cron": "cron",
    "timeZone": "time_zone",
    "payload": "payload",
    "labels": "labels",
    "priority": "priority",
    "missed": "missed",
    "overlap": "overlap",
    "jitterSeconds": "jitter",
    "active": "active",
}


def schedule_entries(flow: Flow) -> list[dict[str, Any]]:
    """Return the entries of a stored flow's schedules, sorted by name."""
    return sorted(map(schedule_entry, flow.schedules.all()), key=lambda entry: str(entry["name"]))


def schedule_entry(schedule: FlowSchedule) -> dict[str, Any]:
    default = _values(FlowSchedule())
    values = _values(schedule)
    return {
        key: value
        for key, value in values.items()
        if key in ("name", "cron") or not same(value, default[key])
    }


def _values(schedule: FlowSchedule) -> dict[str, Any]:
    values = {key: getattr(schedule, column) for key, column in COLUMNS.items()}
    values["labels"] = sorted_keys(schedule.labels)
    values["jitterSeconds"] = in_units(schedule.jitter, SECOND)
    values["payload"] = _payload(schedule.payload)
    return values


def _payload(text: str) -> Any:
    """Return the payload as an object, or its text where an object would lose digits."""
    try:
        value = json.loads(text)
        is_exact = same(value, json.loads(text, parse_float=_exact))
    except ValueError:
        return text
    return sorted_keys(value) if is_exact else text


def _exact(number: str) -> Any:
    value = float(number)
    return value if Decimal(number) == Decimal(repr(value)) else number


def completed_schedule(given: dict[str, Any]) -> dict[str, Any]:
    """Return a valid entry as an export writes it, and with `active` wherever it is given."""
    entry = schedule_entry(_filled(FlowSchedule(), given))
    return entry | {key: given[key] for key in ("active",) if key in given}


def with_pause(entry: dict[str, Any], is_paused: bool) -> dict[str, Any]:
    """Return the completed entry as an export writes it, of a schedule that is paused now or not.

    Operators pause a schedule at run time: without `active` it stays as it is.
    """
    is_active = entry.get("active", not is_paused)
    others = {key: value for key, value in entry.items() if key != "active"}
    return others if is_active else others | {"active": False}


def fill_schedule(schedule: FlowSchedule, entry: dict[str, Any]) -> FlowSchedule:
    default = FlowSchedule()
    for column in COLUMNS.values():
        setattr(schedule, column, getattr(default, column))
    return _filled(schedule, entry)


def _filled(schedule: FlowSchedule, entry: dict[str, Any]) -> FlowSchedule:
    for key, value in entry.items():
        if key == "jitterSeconds":
            value = value * SECOND
        elif key == "payload" and not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False)
        setattr(schedule, COLUMNS[key], value)
    return schedule


def faults_of(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong in an entry that its schema allows, each with the key."""
    keys = {column: key for key, column in COLUMNS.items()}
    try:
        _filled(FlowSchedule(), entry).full_clean(
            exclude=["flow"], validate_unique=False, validate_constraints=False
        )
    except ValidationError as error:
        for column, messages in error.message_dict.items():
            yield keys.get(column, ""), " ".join(messages)
