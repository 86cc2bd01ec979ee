"""Alert targets and thresholds of alarms in a document: rows as entries, and back.

Keys are in an entry only where they are set. A target's address is in no document: the name of the
secret that has it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from flows.configuration.entry import Entry
from flows.configuration.faults import quoted
from flows.configuration.rows import SECOND, in_units, plain_number, same
from flows.models import AlertTarget, AlertThresholds
from flows.models.alert_thresholds import set_thresholds
from scripts.models import Secret

# The name of the thresholds that are of no flow or queue.
INSTALLATION = "installation"
# The columns of thresholds by their keys; those in seconds are durations.
THRESHOLDS = {
    "queueFullPercent": "queue_full",
    "standingStillSeconds": "standing_still",
    "oldestAgeSeconds": "oldest_age",
    "newDeadLetters": "new_letters",
    "failedRuns": "failed_runs",
    "failedPercent": "failed_share",
    "failedFactor": "failed_factor",
    "criticalFailedPercent": "critical_share",
    "workersGoneSeconds": "workers_gone",
}
TARGET = {
    "addressSecret": "address_secret",
    "active": "active",
    "level": "least_level",
    "rules": "rules",
    "quietSeconds": "quiet_time",
    "repeatSeconds": "repeat_after",
    "tellsEnd": "tells_end",
}


# --- thresholds --------------------------------------------------------------------------------


def thresholds_entry(row: AlertThresholds) -> dict[str, Any]:
    found = set_thresholds(row)
    return {key: _plain(found[name]) for key, name in THRESHOLDS.items() if name in found}


def completed_thresholds(given: dict[str, Any]) -> dict[str, Any]:
    """Return a valid entry as an export writes it."""
    return thresholds_entry(_with_thresholds(AlertThresholds(), given))


def own_thresholds(row: AlertThresholds | None) -> dict[str, Any]:
    """Return what the entry of a flow or queue has of them."""
    entry = thresholds_entry(row) if row else {}
    return {"alertThresholds": entry} if entry else {}


def filled_thresholds(row: AlertThresholds, entry: dict[str, Any]) -> AlertThresholds:
    for name in THRESHOLDS.values():
        setattr(row, name, None)
    return _with_thresholds(row, entry)


def _with_thresholds(row: AlertThresholds, entry: dict[str, Any]) -> AlertThresholds:
    for key, value in entry.items():
        setattr(row, THRESHOLDS[key], value * SECOND if key.endswith("Seconds") else value)
    return row


def _plain(value: Any) -> int | float:
    return in_units(value, SECOND) if isinstance(value, timedelta) else plain_number(value)


# --- targets -----------------------------------------------------------------------------------


def target_entry(target: AlertTarget) -> dict[str, Any]:
    values, default = _values(target), _values(AlertTarget())
    return {"name": target.name} | {
        key: value for key, value in values.items() if not same(value, default[key])
    }


def completed_target(given: dict[str, Any]) -> dict[str, Any]:
    """Return a valid entry as an export writes it."""
    return target_entry(_with_values(AlertTarget(name=given["name"]), given))


def fill_target(target: AlertTarget, entry: dict[str, Any]) -> None:
    """Fill a row. An address of its own stays, unless the entry names a secret."""
    default, secret = AlertTarget(), entry.get("addressSecret", "")
    for key, column in TARGET.items():
        if key != "addressSecret":
            setattr(target, column, getattr(default, column))
    _with_values(target, {key: entry[key] for key in entry if key != "addressSecret"})
    if secret != target.address_secret or target.changed_at is None:
        target.set_secret(secret)


def missing_addresses(entries: dict[str, Entry]) -> Iterator[str]:
    """Yield a warning for each target that has no address now."""
    if not entries:
        return
    secrets = set(Secret.objects.values_list("name", flat=True))
    for target in AlertTarget.objects.filter(name__in=entries).order_by("name"):
        entry = entries[target.name]
        if target.address_secret and target.address_secret not in secrets:
            yield f"{entry.at('addressSecret')}: there is no secret {quoted(target.address_secret)}"
        elif not target.address_secret and not target.encrypted:
            yield (
                f"{entry.place}: the target {quoted(target.name)} has no address here. Name a"
                " secret in `addressSecret`, or enter it on its page"
            )


def _values(target: AlertTarget) -> dict[str, Any]:
    values = {key: getattr(target, column) for key, column in TARGET.items()}
    values["rules"] = sorted(target.rules)
    for key in ("quietSeconds", "repeatSeconds"):
        values[key] = in_units(values[key], SECOND)
    return values


def _with_values(target: AlertTarget, entry: dict[str, Any]) -> AlertTarget:
    for key, value in entry.items():
        if key != "name":
            setattr(target, TARGET[key], value * SECOND if key.endswith("Seconds") else value)
    return target
