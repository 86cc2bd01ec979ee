"""An entry of the document completed with the defaults, which are those of the models.

A completed entry has the same keys as a row's entry, and its numbers have the same form. So an
import finds what it changes by comparing the two.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flows.configuration.alerts import completed_thresholds
from flows.configuration.rows import (
    DAY,
    MILLISECOND,
    SECOND,
    flow_entry,
    in_units,
    library_entry,
    plain_number,
    queue_entry,
    script_entry,
    script_extras,
    step_extras,
    webhook_extras,
)
from flows.configuration.schedules import completed_schedule
from flows.models import Flow, Queue, Right, Step
from scripts.models import Library, Script


def completed_library(given: dict[str, Any]) -> dict[str, Any]:
    return completed(library_entry(Library()), given)


def completed_script(given: dict[str, Any]) -> dict[str, Any]:
    default = Script()
    entry = completed(script_entry(default), given)
    entry["timeoutSeconds"] = _as_stored(entry["timeoutSeconds"], SECOND)
    entry["memoryMb"] = int(entry["memoryMb"])
    return entry | {key: given[key] for key in script_extras(default) if given.get(key)}


def completed_queue(given: dict[str, Any]) -> dict[str, Any]:
    default = queue_entry(Queue())
    # Operators pause a queue at run time: a document without the key leaves that as it is.
    del default["paused"]
    entry = completed(default, given)
    entry["size"] = int(entry["size"])
    entry["pollingMs"] = _as_stored(entry["pollingMs"], MILLISECOND)
    entry["maxDeliveries"] = int(entry["maxDeliveries"])
    backoff = completed(default["backoff"], entry["backoff"])
    entry["backoff"] = {
        "initialSeconds": _as_stored(backoff["initialSeconds"], SECOND),
        "multiplier": plain_number(backoff["multiplier"]),
        "maxSeconds": _as_stored(backoff["maxSeconds"], SECOND),
        "jitter": plain_number(backoff["jitter"]),
    }
    if limit := entry["rateLimit"]:
        entry["rateLimit"] = {
            "count": int(limit["count"]),
            "periodSeconds": _as_stored(limit["periodSeconds"], SECOND),
        }
    if given.get("maxWaitSeconds"):
        longest = _as_stored(given["maxWaitSeconds"], SECOND)
        if longest != in_units(Queue().max_wait, SECOND):
            entry["maxWaitSeconds"] = longest
    if given.get("cluster"):
        entry["cluster"] = given["cluster"]
    entry |= _thresholds(given)
    return entry | {key: given[key] for key in ("paused",) if key in given}


def completed_flow(given: dict[str, Any]) -> dict[str, Any]:
    entry = completed(flow_entry(Flow(), []), given)
    entry["retentionDays"] = _as_stored(entry["retentionDays"], DAY)
    if given.get("maxAgeSeconds"):
        entry["maxAgeSeconds"] = _as_stored(given["maxAgeSeconds"], SECOND)
    if given.get("keep", Flow().keep) != Flow().keep:
        entry["keep"] = given["keep"]
    if given.get("archive"):
        entry["archive"] = True
    if given.get("starts"):
        entry["starts"] = given["starts"]
    entry |= webhook_extras(given)
    if given.get("schedules"):
        found = [completed_schedule(each) for each in given["schedules"]]
        entry["schedules"] = sorted(found, key=lambda each: str(each["name"]))
    if rate := given.get("startRate"):
        entry["startRate"] = {name: int(number) for name, number in rate.items()}
    entry |= _thresholds(given)
    entry["steps"] = _with_names([completed_step(step) for step in entry["steps"]])
    return entry


def _thresholds(given: dict[str, Any]) -> dict[str, Any]:
    thresholds = given.get("alertThresholds")
    return {"alertThresholds": completed_thresholds(thresholds)} if thresholds else {}


def completed_step(given: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "name": given.get("name", ""),
        "script": given["script"],
        "queue": given["queue"],
        "threads": int(given.get("threads") or Step().threads),
    }
    return entry | step_extras(given)


def completed_role(given: dict[str, Any]) -> dict[str, Any]:
    entry = {right: sorted(given.get(right, [])) for right in ("start", "watch", "operate")}
    if configured := given.get(Right.CONFIGURE):
        entry[Right.CONFIGURE] = sorted(configured)
    return entry


def completed(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {key: given.get(key, default) for key, default in defaults.items()}


def _with_names(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name the steps without a name after their script, after their queue where that is taken."""
    names = [step["name"] or step["script"] for step in steps]
    return [
        {**step, "name": step["name"] or (step["queue"] if names.count(name) > 1 else name)}
        for step, name in zip(steps, names, strict=True)
    ]


def _as_stored(value: float, unit: timedelta) -> int | float:
    """Return the duration, given in the unit, as the database has it: rounded to microseconds."""
    return in_units(value * unit, unit)
