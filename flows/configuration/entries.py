"""A row as an entry of the document, an entry completed with the defaults, and back to a row.

A completed entry is compared with a row's entry to see what an import changes, so both have the
same keys and their numbers in the same form. What few need (`join`, `maxAgeSeconds`) is there only
where it is set. A queue's `paused` is set by operators at run time: a document that does not
mention it leaves it as it is.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from flows.models import Flow, Queue, Right, Step
from scripts.models import Library, Script

_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

DEFAULT_THREADS = 4
_SCRIPT: dict[str, Any] = {
    "name": "",
    "description": "",
    "language": "python",
    "code": "",
    "libraries": [],
    "inputSchema": {},
    "outputSchema": {},
    "timeoutSeconds": 30,
    "memoryMb": 256,
    "network": False,
}
# In the document where they are set.
_SCRIPT_EXTRAS: dict[str, Any] = {
    "allowedHosts": [],
    "privateAddresses": False,
    "secrets": [],
    "inTransaction": False,
}
_LIBRARY: dict[str, Any] = {"name": "", "language": "python", "code": ""}
_BACKOFF: dict[str, Any] = {"initialSeconds": 1, "multiplier": 2, "maxSeconds": 300, "jitter": 0.2}
_QUEUE: dict[str, Any] = {
    "name": "",
    "size": 10_000,
    "pollingMs": 100,
    "maxDeliveries": 5,
    "backoff": {},
    "rateLimit": None,
}
_FLOW: dict[str, Any] = {
    "name": "",
    "description": "",
    "active": True,
    "retentionDays": 30,
    "steps": [],
}


def completed_library(given: dict[str, Any]) -> dict[str, Any]:
    return _complete(_LIBRARY, given)


def completed_script(given: dict[str, Any]) -> dict[str, Any]:
    entry = _complete(_SCRIPT, given)
    entry["timeoutSeconds"] = _stored(entry["timeoutSeconds"], _SECOND)
    entry["memoryMb"] = int(entry["memoryMb"])
    return entry | {key: given[key] for key in _SCRIPT_EXTRAS if given.get(key)}


def completed_queue(given: dict[str, Any]) -> dict[str, Any]:
    entry = _complete(_QUEUE, given)
    backoff = _complete(_BACKOFF, entry["backoff"])
    entry["size"] = int(entry["size"])
    entry["pollingMs"] = _stored(entry["pollingMs"], _MILLISECOND)
    entry["maxDeliveries"] = int(entry["maxDeliveries"])
    entry["backoff"] = {
        "initialSeconds": _stored(backoff["initialSeconds"], _SECOND),
        "multiplier": _number(backoff["multiplier"]),
        "maxSeconds": _stored(backoff["maxSeconds"], _SECOND),
        "jitter": _number(backoff["jitter"]),
    }
    if limit := entry["rateLimit"]:
        entry["rateLimit"] = {
            "count": int(limit["count"]),
            "periodSeconds": _stored(limit["periodSeconds"], _SECOND),
        }
    return entry | {key: given[key] for key in ("paused",) if key in given}


def completed_flow(given: dict[str, Any]) -> dict[str, Any]:
    entry = _complete(_FLOW, given)
    entry["retentionDays"] = _stored(entry["retentionDays"], _DAY)
    if given.get("maxAgeSeconds"):
        entry["maxAgeSeconds"] = _stored(given["maxAgeSeconds"], _SECOND)
    entry["steps"] = _with_names([completed_step(step) for step in entry["steps"]])
    return entry


def completed_step(given: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "name": given.get("name", ""),
        "script": given["script"],
        "queue": given["queue"],
        "threads": int(given.get("threads") or DEFAULT_THREADS),
    }
    return entry | ({"join": True} if given.get("join") else {})


def completed_role(given: dict[str, Any]) -> dict[str, Any]:
    return {right: sorted(given.get(right, [])) for right in Right.values}


def library_entry(library: Library) -> dict[str, Any]:
    return {"name": library.name, "language": library.language, "code": library.code}


def script_entry(script: Script) -> dict[str, Any]:
    entry = {
        "name": script.name,
        "description": script.description,
        "language": script.language,
        "code": script.code,
        "libraries": [library.name for library in script.libraries],
        "inputSchema": sorted_keys(script.input_schema),
        "outputSchema": sorted_keys(script.output_schema),
        "timeoutSeconds": _in(script.timeout, _SECOND),
        "memoryMb": script.memory_mb,
        "network": script.network,
    }
    extras = {
        "allowedHosts": script.allowed_hosts,
        "privateAddresses": script.private_addresses,
        "secrets": script.secrets,
        "inTransaction": script.in_transaction,
    }
    return entry | {key: value for key, value in extras.items() if value}


def queue_entry(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "size": queue.size,
        "pollingMs": _in(queue.polling, _MILLISECOND),
        "maxDeliveries": queue.max_deliveries,
        "backoff": {
            "initialSeconds": _in(queue.backoff_initial, _SECOND),
            "multiplier": _number(queue.backoff_multiplier),
            "maxSeconds": _in(queue.backoff_max, _SECOND),
            "jitter": _number(queue.backoff_jitter),
        },
        "rateLimit": queue.rate_count
        and {"count": queue.rate_count, "periodSeconds": _in(queue.rate_period, _SECOND)},
        "paused": queue.paused,
    }


def flow_entry(flow: Flow, steps: list[Step]) -> dict[str, Any]:
    entry = {
        "name": flow.name,
        "description": flow.description,
        "active": flow.active,
        "retentionDays": _in(flow.retention, _DAY),
        "steps": [step_entry(step) for step in steps],
    }
    if flow.max_age is not None:
        entry["maxAgeSeconds"] = _in(flow.max_age, _SECOND)
    return entry


def step_entry(step: Step) -> dict[str, Any]:
    entry = {
        "name": step.name,
        "script": step.script.name,
        "queue": step.queue.name,
        "threads": step.threads,
    }
    return entry | ({"join": True} if step.join else {})


def fill_library(library: Library, entry: dict[str, Any]) -> None:
    library.language = entry["language"]
    library.code = entry["code"]


def fill_script(script: Script, entry: dict[str, Any], libraries: dict[str, Library]) -> None:
    script.description = entry["description"]
    script.language = entry["language"]
    script.code = entry["code"]
    script.input_schema = entry["inputSchema"]
    script.output_schema = entry["outputSchema"]
    script.timeout = entry["timeoutSeconds"] * _SECOND
    script.memory_mb = entry["memoryMb"]
    script.network = entry["network"]
    script.libraries = [libraries[name] for name in entry["libraries"]]
    extras = _complete(_SCRIPT_EXTRAS, entry)
    script.allowed_hosts = extras["allowedHosts"]
    script.private_addresses = extras["privateAddresses"]
    script.secrets = extras["secrets"]
    script.in_transaction = extras["inTransaction"]


def fill_queue(queue: Queue, entry: dict[str, Any]) -> None:
    backoff, limit = entry["backoff"], entry["rateLimit"]
    queue.size = entry["size"]
    queue.polling = entry["pollingMs"] * _MILLISECOND
    queue.max_deliveries = entry["maxDeliveries"]
    queue.backoff_initial = backoff["initialSeconds"] * _SECOND
    queue.backoff_multiplier = backoff["multiplier"]
    queue.backoff_max = backoff["maxSeconds"] * _SECOND
    queue.backoff_jitter = backoff["jitter"]
    queue.rate_count = limit["count"] if limit else None
    queue.rate_period = limit["periodSeconds"] * _SECOND if limit else _SECOND
    if queue.paused != entry["paused"]:
        queue.paused, queue.paused_by = entry["paused"], None


def fill_flow(flow: Flow, entry: dict[str, Any]) -> None:
    flow.description = entry["description"]
    flow.active = entry["active"]
    flow.retention = entry["retentionDays"] * _DAY
    max_age = entry.get("maxAgeSeconds")
    flow.max_age = max_age * _SECOND if max_age else None


def same(one: Any, other: Any) -> bool:
    """Compare as JSON: true is not 1, and the order of keys means nothing."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def sorted_keys(value: Any) -> Any:
    """Return a JSON value with the keys of its objects sorted.

    PostgreSQL keeps an order of its own, so this alone gives one text for one configuration.
    """
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_keys(item) for item in value]
    return value


def _complete(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {key: given.get(key, default) for key, default in defaults.items()}


def _with_names(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name the steps without a name after their script, after their queue where that is taken."""
    names = [step["name"] or step["script"] for step in steps]
    return [
        {**step, "name": step["name"] or (step["queue"] if names.count(name) > 1 else name)}
        for step, name in zip(steps, names, strict=True)
    ]


def _stored(value: float, unit: timedelta) -> int | float:
    """Return what a duration of so many units is once it was stored, in microseconds."""
    return _in(value * unit, unit)


def _in(duration: timedelta, unit: timedelta) -> int | float:
    return _number(duration / unit)


def _number(value: float) -> int | float:
    """Write a whole number without a fraction: 30, not 30.0."""
    return int(value) if value == int(value) else value
