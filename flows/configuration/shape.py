"""Which keys an entry of the document has and what their values may be."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from flows.configuration.faults import Faults, inside
from flows.models import Right
from scripts.models import Language
from scripts.names import CONTROL

SECTIONS = ("libraries", "scripts", "queues", "flows", "rbac")

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}


def _integer(minimum: int, maximum: int = 2**31 - 1) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _number(minimum: float, maximum: float) -> dict[str, Any]:
    return {"type": "number", "minimum": minimum, "maximum": maximum}


def _name(longest: int) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
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


NAME = _name(100)
# The upper ends keep every duration exact in microseconds as a JSON number and in both databases.
_SECONDS = _number(0.001, 10**9)
_FLOW_NAMES = {**_list(_TEXT), "uniqueItems": True}

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
        "memoryMb": _integer(16, 65_536),
        "network": _FLAG,
        "allowedHosts": {**_list(NAME), "uniqueItems": True},
        "privateAddresses": _FLAG,
        "secrets": {**_list(NAME), "uniqueItems": True},
        "inTransaction": _FLAG,
    },
    required=("name", "code"),
)
QUEUE = _object(
    {
        "name": NAME,
        "size": _integer(1),
        "pollingMs": _number(0.001, 10**9),
        "maxDeliveries": _integer(1, 1_000),
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
                {"count": _integer(1), "periodSeconds": _SECONDS},
                required=("count", "periodSeconds"),
            ),
            "type": ["object", "null"],
        },
        "paused": _FLAG,
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
        "steps": _list(
            _object(
                {
                    "name": NAME,
                    "script": NAME,
                    "queue": NAME,
                    "threads": _integer(1, 1_000),
                    "join": _FLAG,
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
                    "maxThreads": {**_integer(1, 1_000), "type": ["integer", "null"]},
                    "initial": {"type": ["boolean", "null"]},
                },
                required=("sourceQueueName", "endpointName"),
            )
        ),
    },
    required=("flowName", "queueMappings"),
)
ROLE_NAME = _name(150)
ROLE = _object(dict.fromkeys(Right.values, _FLOW_NAMES))
SHORT_ROLE = _FLOW_NAMES


def check_shape(schema: dict[str, Any], value: Any, path: str, faults: Faults) -> bool:
    """Tell whether the value has the shape; what it has instead goes to the faults."""
    before = len(faults)
    wrong_types = set()
    for error in jsonschema_rs.validator_for(schema).iter_errors(value):
        place = inside(path, *error.instance_path)
        # 0.5 for a whole number is one fault, though it is below the minimum as well.
        if error.kind.name == "type":
            wrong_types.add(place)
        elif place in wrong_types:
            continue
        for detail in _details(error):
            faults.add(place, detail)
    return len(faults) == before


def type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _details(error: jsonschema_rs.ValidationError) -> list[str]:
    kind: Any = error.kind
    match kind.name:
        case "required":
            return [f'"{kind.property}" is missing']
        case "additionalProperties":
            return [f'unknown key "{key}"' for key in kind.unexpected]
        case "type":
            return [f"must be {_expected(kind.types)}, not {_found(error.instance)}"]
        case "enum":
            return ["must be one of " + ", ".join(f'"{option}"' for option in kind.options)]
        case "minimum":
            return [f"must be at least {kind.limit}"]
        case "maximum":
            return [f"must be at most {kind.limit}"]
        case "minLength":
            return ["must not be empty"]
        case "maxLength":
            return [f"must not be longer than {kind.limit} characters"]
        case "pattern":
            return ["must not be blank or contain control characters"]
        case "uniqueItems":
            return ["names something twice"]
        case _:
            return [error.message]


def _found(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else type_name(value)


def _expected(types: list[str]) -> str:
    names = {
        "array": "a list",
        "boolean": "true or false",
        "integer": "a whole number",
        "null": "null",
        "number": "a number",
        "object": "an object",
        "string": "a string",
    }
    # null last: "an object or null" reads better than the other way round.
    return " or ".join(names[name] for name in sorted(types, key=lambda name: name == "null"))
