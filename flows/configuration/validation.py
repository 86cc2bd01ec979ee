"""Checks a value of the document against a schema, with faults in words."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from flows.configuration.faults import Faults, inside


def matches_schema(schema: dict[str, Any], value: Any, path: str, faults: Faults) -> bool:
    """Return whether the value matches the schema, and add to the faults where it does not."""
    before = len(faults)
    wrong_types = set()
    for error in jsonschema_rs.validator_for(schema).iter_errors(value):
        place = inside(path, *error.instance_path)
        # 0.5 where a whole number must be is one fault, though it may be below the minimum, too.
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
