"""The JSON Schemas of entries: their keys and values. The bounds are those of the models."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from flows.configuration.alerts import THRESHOLDS
from flows.configuration.rows import plain_number
from flows.models import (
    AlertLevel,
    AlertTarget,
    AlertThresholds,
    Flow,
    FlowSchedule,
    Queue,
    Right,
    Step,
)
from flows.models.alert import LONGEST_TIME
from flows.models.alert_thresholds import LONGEST_AGE, LONGEST_STILL, thresholds_of
from flows.models.durations import LONGEST_RATE_PERIOD
from flows.models.flow_schedule import LONGEST_EXPRESSION
from flows.models.keep import Keep
from flows.models.live_cluster import COUNTS, KEPT
from flows.models.webhook_url import LONGEST_URL
from flows.monitoring.health import RULES
from scripts.models import Language, Script
from scripts.names import CONTROL
from scripts.protocol.table_file import MAX_TABLES
from scripts.tables.reading import FORMATS

# PostgreSQL's integer columns end there.
LARGEST_INTEGER = 2**31 - 1
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}


def _bounded(model: type[models.Model], field: str) -> dict[str, Any]:
    """Return the schema of a column of numbers, within the bounds of its validators."""
    bounds: dict[str, list[int]] = {"minimum": [], "maximum": [LARGEST_INTEGER]}
    for validator in _column(model, field).validators:
        if isinstance(validator, MinValueValidator):
            bounds["minimum"].append(validator.limit_value)
        elif isinstance(validator, MaxValueValidator):
            bounds["maximum"].append(validator.limit_value)
    return {
        "type": "integer" if isinstance(_column(model, field), models.IntegerField) else "number",
        "minimum": max(bounds["minimum"]),
        "maximum": min(bounds["maximum"]),
    }


def _column(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


def _number(minimum: float, maximum: float) -> dict[str, Any]:
    bounds = {"minimum": plain_number(minimum), "maximum": plain_number(maximum)}
    return {"type": "number"} | bounds


def _name(model: type[models.Model]) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": _column(model, "name").max_length,
        "pattern": rf"^(?:$|(?=.*\S)[^{CONTROL}]+$)",
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


NAME = _name(Script)
CLUSTER = {
    "type": "string",
    "maxLength": _column(Queue, "cluster").max_length,
    # As `address_fault` has it.
    "pattern": rf"^(?!\.+$)(?:[^\s/{CONTROL}](?:[^/{CONTROL}]*[^\s/{CONTROL}])?)?$",
}
# Up to these maxima, a duration in microseconds is exact as a JSON number and in both databases.
_SECONDS = _number(0.001, 10**9)
_FLOW_NAMES = {**_list(_TEXT), "uniqueItems": True}

_THRESHOLD_SECONDS = {
    "standing_still": _number(0.001, LONGEST_STILL.total_seconds()),
    "oldest_age": _number(0.001, LONGEST_AGE.total_seconds()),
    "workers_gone": _number(COUNTS.total_seconds(), KEPT.total_seconds()),
}


def _thresholds(**place: Any) -> dict[str, Any]:
    names = thresholds_of(**place)
    return _object(
        {
            key: _THRESHOLD_SECONDS.get(name) or _bounded(AlertThresholds, name)
            for key, name in THRESHOLDS.items()
            if name in names
        }
    )


ALERT_THRESHOLDS = _thresholds()
ALERT_TARGET = _object(
    {
        "name": _name(AlertTarget),
        "addressSecret": NAME,
        "active": _FLAG,
        "level": {"enum": AlertLevel.values},
        "rules": {**_list({"enum": list(RULES)}), "uniqueItems": True},
        "quietSeconds": _number(0, LONGEST_TIME.total_seconds()),
        "repeatSeconds": _number(0, LONGEST_TIME.total_seconds()),
        "tellsEnd": _FLAG,
    },
    required=("name",),
)
LIBRARY = _object(
    {
        "name": NAME,
        "language": {"enum": [value for value, _ in Language.of_code()]},
        "code": {"type": "string", "minLength": 1},
    },
    required=("name", "code"),
)
SCRIPT = _object(
    {
        "name": NAME,
        "description": _TEXT,
        "language": {"enum": Language.values},
        "code": {"type": "string", "minLength": 1},
        "libraries": {**_list(NAME), "uniqueItems": True},
        "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object"},
        "timeoutSeconds": _SECONDS,
        "memoryMb": _bounded(Script, "memory_mb"),
        "network": _FLAG,
        "allowedHosts": {**_list(NAME), "uniqueItems": True},
        "privateAddresses": _FLAG,
        "secrets": {**_list(NAME), "uniqueItems": True},
        "tables": {**_list(NAME), "uniqueItems": True, "maxItems": MAX_TABLES},
        "inTransaction": _FLAG,
    },
    required=("name", "code"),
)
TABLE = _object(
    {
        "name": {**NAME, "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
        "description": _TEXT,
        "format": {"enum": list(FORMATS)},
        "key": _TEXT,
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "file": {"type": "string", "minLength": 1},
    },
    required=("name", "format"),
)
QUEUE = _object(
    {
        "name": NAME,
        "size": _bounded(Queue, "size"),
        "pollingMs": _number(0.001, 10**9),
        "maxDeliveries": _bounded(Queue, "max_deliveries"),
        "maxWaitSeconds": _SECONDS,
        "cluster": CLUSTER,
        "backoff": _object(
            {
                "initialSeconds": _number(0, 10**9),
                "multiplier": _number(1, 1_000),
                "maxSeconds": _SECONDS,
                "jitter": _number(0, 1),
            }
        ),
        "rateLimit": {
            **_object(
                {"count": _bounded(Queue, "rate_count"), "periodSeconds": _SECONDS},
                required=("count", "periodSeconds"),
            ),
            "type": ["object", "null"],
        },
        "paused": _FLAG,
        "alertThresholds": _thresholds(queue=True),
    },
    required=("name",),
)
FLOW = _object(
    {
        "name": NAME,
        "description": _TEXT,
        "active": _FLAG,
        "retentionDays": _number(0.0001, 10**5),
        "maxAgeSeconds": {**_SECONDS, "type": ["number", "null"]},
        "keep": {"enum": Keep.values},
        "archive": _FLAG,
        "starts": {**_list(NAME), "uniqueItems": True},
        "webhookUrl": {**_TEXT, "maxLength": LONGEST_URL},
        "privateWebhooks": _FLAG,
        "alertThresholds": _thresholds(flow=True),
        "schedules": _list(
            _object(
                {
                    "name": NAME,
                    "cron": {"type": "string", "minLength": 1, "maxLength": LONGEST_EXPRESSION},
                    "timeZone": _TEXT,
                    "payload": {"type": ["object", "string"]},
                    "labels": {"type": "object", "additionalProperties": _TEXT},
                    "priority": _bounded(FlowSchedule, "priority"),
                    "missed": {"enum": FlowSchedule.Missed.values},
                    "overlap": {"enum": FlowSchedule.Overlap.values},
                    "jitterSeconds": _number(0, 86_400),
                    "active": _FLAG,
                },
                required=("name", "cron"),
            )
        ),
        "startRate": {
            **_object(
                {
                    "count": _bounded(Flow, "start_rate_count"),
                    "periodSeconds": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": int(LONGEST_RATE_PERIOD.total_seconds()),
                    },
                },
                required=("count", "periodSeconds"),
            ),
            "type": ["object", "null"],
        },
        "steps": _list(
            _object(
                {
                    "name": NAME,
                    "script": NAME,
                    "queue": NAME,
                    "threads": _bounded(Step, "threads"),
                    "join": _FLAG,
                    "goesTo": {**_list(NAME), "uniqueItems": True},
                },
                required=("script", "queue"),
            )
        ),
    },
    required=("name",),
)
ORIGINAL_FLOW = _object(
    {
        "flowName": NAME,
        "queueMappings": _list(
            _object(
                {
                    "sourceQueueName": NAME,
                    "endpointName": NAME,
                    "targetQueueName": {"type": ["string", "null"]},
                    "maxThreads": {**_bounded(Step, "threads"), "type": ["integer", "null"]},
                    "initial": {"type": ["boolean", "null"]},
                },
                required=("sourceQueueName", "endpointName"),
            )
        ),
    },
    required=("flowName", "queueMappings"),
)
ROLE_NAME = _name(Group)
ROLE = _object(dict.fromkeys(Right.values, _FLOW_NAMES))
SHORT_ROLE = _FLOW_NAMES
