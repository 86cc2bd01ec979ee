"""Makes an example payload from the input parameters of a script."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from scripts.trials.pattern_text import text_matching

DEEPEST = 6
MOST_ITEMS = 100
# A schema that refers to itself many times would have an example without end. A text counts as one
# more part for each of this number of characters.
MOST_PARTS = 3000
TEXT_PART = 32

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "name@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


def example_payload(schema: Any) -> Any:
    """Return a value that matches the schema, as far as its keywords do not exclude each other."""
    return _Examples(schema).of(schema, 0)


class _Examples:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._parts = 0

    def of(self, schema: Any, depth: int) -> Any:
        self._parts += 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._parts > MOST_PARTS:
            return {}
        schema = self._resolved(schema, depth)
        for given in ("default", "const", "example"):
            if given in schema:
                return self._counted(schema[given])
        for choices in ("examples", "enum"):
            if isinstance(schema.get(choices), list) and schema[choices]:
                return self._counted(schema[choices][0])
        made = self._of_type(_type_of(schema), schema, depth)
        return self._counted(made) if isinstance(made, str) else made

    def _counted(self, value: Any) -> Any:
        self._parts += len(json.dumps(value)) // TEXT_PART
        return value

    def _of_type(self, kind: Any, schema: dict[str, Any], depth: int) -> Any:
        makers: dict[str, Callable[[], Any]] = {
            "string": lambda: _text(schema),
            "integer": lambda: _number(schema, is_whole=True),
            "number": lambda: _number(schema, is_whole=False),
            "boolean": lambda: False,
            "array": lambda: self._items(schema, depth),
            "object": lambda: self._object(schema, depth),
        }
        return makers[kind]() if isinstance(kind, str) and kind in makers else None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        fields = properties if isinstance(properties, dict) else {}
        others = schema.get("additionalProperties", {})
        given = schema.get("required")
        required: list[Any] = given if isinstance(given, list) else []
        if depth >= DEEPEST or self._parts > MOST_PARTS:
            # A schema may refer to itself.
            fields = {name: each for name, each in fields.items() if name in required}
        made = {name: self.of(each, depth + 1) for name, each in fields.items()}
        for name in required:
            if isinstance(name, str) and name not in made:
                made[name] = self.of(others, depth + 1)
        return made

    def _items(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        given = first[:MOST_ITEMS] if isinstance(first, list) else []
        made = [self.of(each, depth + 1) for each in given]
        least = schema.get("minItems", 0)
        least = min(least, MOST_ITEMS) if isinstance(least, int) else 0
        items = schema.get("items", {})
        while len(made) < least:
            made.append(self.of(items, depth + 1))
        return _different(made) if schema.get("uniqueItems") is True else made

    def _resolved(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """Return the schema with what it refers to, and with the first of its choices."""
        self._parts += 1
        parts: list[Any] = []
        if isinstance(schema.get("$ref"), str):
            parts.append(self._found(schema["$ref"]))
        if isinstance(schema.get("allOf"), list):
            parts += schema["allOf"]
        for choices in ("oneOf", "anyOf"):
            if isinstance(schema.get(choices), list):
                parts += schema[choices][:1]
        others = ("$ref", "allOf", "oneOf", "anyOf")
        found = {name: value for name, value in schema.items() if name not in others}
        for part in parts:
            if isinstance(part, dict) and depth <= DEEPEST and self._parts <= MOST_PARTS:
                found = _merged(found, self._resolved(part, depth + 1))
        return found

    def _found(self, reference: str) -> Any:
        here = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            here = here.get(name) if isinstance(here, dict) else None
        return here if reference.startswith("#") else None


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**other, **one}
    for name in ("properties", "$defs"):
        if isinstance(one.get(name), dict) and isinstance(other.get(name), dict):
            both[name] = {**other[name], **one[name]}
    if isinstance(one.get("required"), list) and isinstance(other.get("required"), list):
        both["required"] = [*one["required"], *other["required"]]
    return both


def _type_of(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        return kind[0] if kind else "object"
    if kind is not None:
        return kind
    hints = {
        "string": ("minLength", "maxLength", "pattern", "format"),
        "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        "array": ("items", "minItems", "prefixItems"),
    }
    return next((k for k, words in hints.items() if not schema.keys().isdisjoint(words)), "object")


def _text(schema: dict[str, Any]) -> str:
    pattern, least, most = (schema.get(word) for word in ("pattern", "minLength", "maxLength"))
    text = _FORMATS.get(str(schema.get("format")), "")
    if isinstance(pattern, str):
        text = text_matching(pattern)
    elif isinstance(least, int) and len(text) < least <= 10_000:
        text += "x" * (least - len(text))
    return text[:most] if isinstance(most, int) and not isinstance(pattern, str) else text


def _number(schema: dict[str, Any], *, is_whole: bool) -> Any:
    lowest, above = _bound(schema, "minimum"), _bound(schema, "exclusiveMinimum")
    highest, below = _bound(schema, "maximum"), _bound(schema, "exclusiveMaximum")
    step = _bound(schema, "multipleOf") or 1
    at_least = max((each for each in (lowest, above) if each is not None), default=None)
    at_most = min((each for each in (highest, below) if each is not None), default=None)
    if at_least is not None:
        number: Any = lowest if lowest == at_least and "multipleOf" not in schema else None
        if number is None or number == above:
            number = math.ceil(at_least / step) * step
            number += step if number == above else 0
    elif at_most is not None and (at_most < 0 or at_most == below):
        number = math.floor(at_most / step) * step
        number -= step if number == below else 0
    else:
        number = 0
    if at_most is not None and at_least is not None and not is_whole and number >= at_most:
        number = (at_least + at_most) / 2
    return math.ceil(number) if is_whole else number


def _bound(schema: dict[str, Any], word: str) -> Any:
    bound: Any = schema.get(word)
    is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
    return bound if is_number and math.isfinite(bound) else None


def _different(items: list[Any]) -> list[Any]:
    """Return the items with numbers and texts that differ."""
    found: list[Any] = []
    for item in items:
        other: Any = item
        while other in found and isinstance(other, int | float | str) and other is not False:
            other = f"{other}x" if isinstance(other, str) else other + 1
        found.append(other)
    return found
