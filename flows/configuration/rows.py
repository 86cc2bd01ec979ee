"""A row as an entry of the document, and back.

Rarely used keys (`join`, `maxAgeSeconds` …) are in an entry only where they are set.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from flows.models import Flow, Queue, Step
from scripts.models import Library, Script

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


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
        "timeoutSeconds": in_units(script.timeout, SECOND),
        "memoryMb": script.memory_mb,
        "network": script.network,
    }
    return entry | {key: value for key, value in script_extras(script).items() if value}


def script_extras(script: Script) -> dict[str, Any]:
    """Return the keys that an entry has only where they are set, all of them."""
    return {
        "allowedHosts": script.allowed_hosts,
        "privateAddresses": script.private_addresses,
        "secrets": script.secrets,
        "tables": script.tables,
        "inTransaction": script.in_transaction,
    }


def queue_entry(queue: Queue) -> dict[str, Any]:
    entry = {
        "name": queue.name,
        "size": queue.size,
        "pollingMs": in_units(queue.polling, MILLISECOND),
        "maxDeliveries": queue.max_deliveries,
        "backoff": {
            "initialSeconds": in_units(queue.backoff_initial, SECOND),
            "multiplier": plain_number(queue.backoff_multiplier),
            "maxSeconds": in_units(queue.backoff_max, SECOND),
            "jitter": plain_number(queue.backoff_jitter),
        },
        "rateLimit": queue.rate_count
        and {"count": queue.rate_count, "periodSeconds": in_units(queue.rate_period, SECOND)},
        "paused": queue.paused,
    }
    if queue.max_wait != Queue().max_wait:
        entry["maxWaitSeconds"] = in_units(queue.max_wait, SECOND)
    if queue.cluster:
        entry["cluster"] = queue.cluster
    return entry


def flow_entry(flow: Flow, steps: list[Step]) -> dict[str, Any]:
    entry = {
        "name": flow.name,
        "description": flow.description,
        "active": flow.active,
        "retentionDays": in_units(flow.retention, DAY),
        "steps": [step_entry(step) for step in steps],
    }
    if flow.max_age is not None:
        entry["maxAgeSeconds"] = in_units(flow.max_age, SECOND)
    if flow.keep != Flow().keep:
        entry["keep"] = flow.keep
    if flow.archive:
        entry["archive"] = True
    if flow.may_start:
        entry["starts"] = flow.may_start
    if rate := flow.start_rate:
        entry["startRate"] = {"count": rate[0], "periodSeconds": rate[1]}
    return entry | webhook_extras(
        {"webhookUrl": flow.webhook_url, "privateWebhooks": flow.private_webhooks}
    )


def webhook_extras(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of the keys of a flow's webhooks that are set. Its secret is in no document."""
    return {key: values[key] for key in ("webhookUrl", "privateWebhooks") if values.get(key)}


def step_entry(step: Step) -> dict[str, Any]:
    entry = {
        "name": step.name,
        "script": step.script.name,
        "queue": step.queue.name,
        "threads": step.threads,
    }
    return entry | step_extras({"join": step.join, "goesTo": step.goes_to})


def step_extras(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of the rarely used keys of a step that are set."""
    return {key: values[key] for key in ("join", "goesTo") if values.get(key)}


def fill_library(library: Library, entry: dict[str, Any]) -> None:
    library.language = entry["language"]
    library.code = entry["code"]


def fill_script(script: Script, entry: dict[str, Any], libraries: dict[str, Library]) -> None:
    script.description = entry["description"]
    script.language = entry["language"]
    script.code = entry["code"]
    script.input_schema = entry["inputSchema"]
    script.output_schema = entry["outputSchema"]
    script.timeout = entry["timeoutSeconds"] * SECOND
    script.memory_mb = entry["memoryMb"]
    script.network = entry["network"]
    script.libraries = [libraries[name] for name in entry["libraries"]]
    extras = script_extras(Script()) | entry
    script.allowed_hosts = extras["allowedHosts"]
    script.private_addresses = extras["privateAddresses"]
    script.secrets = extras["secrets"]
    script.tables = extras["tables"]
    script.in_transaction = extras["inTransaction"]


def fill_queue(queue: Queue, entry: dict[str, Any]) -> None:
    backoff, limit = entry["backoff"], entry["rateLimit"]
    queue.size = entry["size"]
    queue.polling = entry["pollingMs"] * MILLISECOND
    queue.max_deliveries = entry["maxDeliveries"]
    longest_wait = entry.get("maxWaitSeconds")
    queue.max_wait = longest_wait * SECOND if longest_wait else Queue().max_wait
    queue.cluster = entry.get("cluster", "")
    queue.backoff_initial = backoff["initialSeconds"] * SECOND
    queue.backoff_multiplier = backoff["multiplier"]
    queue.backoff_max = backoff["maxSeconds"] * SECOND
    queue.backoff_jitter = backoff["jitter"]
    queue.rate_count = limit["count"] if limit else None
    queue.rate_period = limit["periodSeconds"] * SECOND if limit else Queue().rate_period
    if queue.paused != entry["paused"]:
        queue.paused, queue.paused_by, queue.pause_reason = entry["paused"], None, ""


def fill_flow(flow: Flow, entry: dict[str, Any]) -> None:
    flow.description = entry["description"]
    flow.active = entry["active"]
    flow.retention = entry["retentionDays"] * DAY
    max_age = entry.get("maxAgeSeconds")
    flow.max_age = max_age * SECOND if max_age else None
    flow.keep = entry.get("keep", Flow().keep)
    flow.archive = entry.get("archive", False)
    flow.may_start = entry.get("starts", [])
    flow.webhook_url = entry.get("webhookUrl", "")
    flow.private_webhooks = entry.get("privateWebhooks", False)
    rate = entry.get("startRate")
    flow.start_rate_count = rate["count"] if rate else None
    flow.start_rate_period = rate["periodSeconds"] * SECOND if rate else Flow().start_rate_period


def same(one: Any, other: Any) -> bool:
    """Compare as JSON: true differs from 1, and the order of keys does not matter."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def sorted_keys(value: Any) -> Any:
    """Return a JSON value with the keys of its objects sorted.

    PostgreSQL stores keys in another order. Sorted, the same configuration has the same text.
    """
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_keys(item) for item in value]
    return value


def in_units(duration: timedelta, unit: timedelta) -> int | float:
    """Return the duration as a number of the unit."""
    return plain_number(duration / unit)


def plain_number(value: float) -> int | float:
    """Return a whole number without a fraction: 30, not 30.0."""
    return int(value) if value == int(value) else value
