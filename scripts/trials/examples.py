"""Makes an example payload from the input parameters of a script."""

from __future__ import annotations

from typing import Any

BY_TYPE: dict[str, Any] = {
    "string": "",
    "integer": 0,
    "number": 0,
    "boolean": False,
    "null": None,
}
DEEPEST = 6


def example_payload(schema: Any, depth: int = 0) -> Any:
    """Return a value after the schema. It matches only simple schemas for sure."""
    if not isinstance(schema, dict) or depth > DEEPEST:
        return {}
    for given in ("default", "const", "example"):
        if given in schema:
            return schema[given]
    for choices in ("examples", "enum"):
        if isinstance(schema.get(choices), list) and schema[choices]:
            return schema[choices][0]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "array":
        return []
    if kind == "object":
        properties = schema.get("properties")
        fields = properties.items() if isinstance(properties, dict) else ()
        return {name: example_payload(each, depth + 1) for name, each in fields}
    lowest = schema.get("minimum")
    if kind in {"integer", "number"} and isinstance(lowest, int | float):
        return lowest
    return BY_TYPE.get(kind) if isinstance(kind, str) else None
