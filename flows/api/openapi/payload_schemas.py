"""Schemas of payloads in a form that generators of clients can take.

The author of a script writes its schema, with anything that JSON Schema knows. A generator that
cannot take one schema makes no client at all, or one without some operations. So the document has
what every generator can express: objects, lists, texts, numbers, and words to choose from. A schema
that says more is in the description as well, as a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import jsonschema_rs

from flows.api.openapi.schemas import ANY_OBJECT, Schema, ref
from scripts.protocol.numerals import dumps

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEEPEST = 20
MOST_COMPONENTS = 100
LONGEST_TEXT = 10_000

# Names and words in which a generator finds neither the end of its own text nor two alike.
NAME = re.compile(r"[^\W\d_][\w .$@-]*")
# Names that generated classes have for themselves.
RESERVED = re.compile(
    "additionalproperties|d|(field|src)dict|(to|from)(dict|json|str)|"
    "model(computed|config|construct|copy|dump|extra|fields|json|parametrized|post|rebuild|valid).*"
)
# A pattern that is the same in the regular expressions of all languages.
PATTERN = re.compile(r"(?:[\w \[\](){}^$.*+|,:;@#%&=<>!~-]|\?(?![<P(])|\\[dwsDWS.+*?()-])*", re.A)
PLAIN = re.compile(r"[\w .,:;@#%&=()-]*", re.A)
FORMATS = {
    "string": {"date", "date-time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"},
    "integer": {"int32", "int64"},
    "number": {"double", "float"},
}
SIZES = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
LARGEST_SIZE = 2**31 - 1
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
LARGEST_BOUND = 2**53
# Keywords that restrict nothing.
ANNOTATIONS = frozenset(
    {
        *("$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated"),
        *("description", "example", "examples", "readOnly", "title", "writeOnly"),
    }
)


class MissingTarget(Exception):
    """A reference leads to nothing in the schema."""


def key_of(name: str) -> str:
    """Return what is left of a name in the code of every language. Two names with the same key
    would be one."""
    return slug(name).replace("_", "").lower()


def slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")


def payload_components(schema: Schema, component: str) -> dict[str, Schema]:
    """Return the schema of a payload as components of the document: itself first, then its parts.

    One that is no JSON Schema of the newest draft, such as one of an older draft, is an object of
    any kind with its text.
    """
    try:
        jsonschema_rs.meta.validate({**schema, "$schema": DIALECT})
        return _Conversion(schema, component).components()
    except (MissingTarget, jsonschema_rs.ValidationError, RecursionError):
        return {component: ANY_OBJECT | {"description": _as_text(schema)}}


class _Conversion:
    """A schema on its way into the document.

    Each object and each choice of words becomes a component. Inside of another schema generators
    would give them names, and some would be alike.
    """

    def __init__(self, root: Schema, component: str) -> None:
        self._root = root
        self._component = component
        self._made: dict[str, Schema] = {component: {}}
        self._keys = {key_of(component)}
        # The name by the identity of a part, and the part, which keeps the identity its own.
        self._names: dict[int, tuple[str, Schema]] = {}
        self._is_whole = True

    def components(self) -> dict[str, Schema]:
        start = self._end_of(self._root)
        for part in (start, self._root):
            self._names[id(part)] = (self._component, part)
        self._shown_as(types_of(start) in ([], ["object"]))
        shown = _described(self._root) | _described(start) | self._object(start, self._component, 0)
        if not self._is_whole:
            texts = [shown.get("description"), _as_text(self._root)]
            shown["description"] = "\n\n".join(text for text in texts if text)
        self._made[self._component] = shown
        return self._made

    def _part(self, schema: Any, path: str, depth: int) -> Schema:
        """Return a part of the schema as the document has it; {} where it cannot have it."""
        if not isinstance(schema, dict):
            return self._shown_as(schema is True)
        if depth > DEEPEST or "$id" in schema:
            return self._shown_as(False)
        schema, is_nullable = without_null(schema)
        if "$ref" in schema:
            part = self._referred(schema, path, depth)
        elif len(types := types_of(schema)) == 1:
            part = self._of_type(types[0], schema, path, depth)
        else:
            self._shown_as(schema.keys() <= ANNOTATIONS)
            part = _described(schema)
        return _or_null(part) if is_nullable else part

    def _of_type(self, kind: str, schema: Schema, path: str, depth: int) -> Schema:
        if kind == "object":
            return self._component_of(schema, path, depth, self._object)
        if kind == "array":
            return self._array(schema, path, depth)
        if kind == "string" and (words := words_of(schema)):
            self._compare(schema, {"type", "enum", "const"})
            return self._component_of(
                schema, path, depth, lambda *_: {"type": "string", "enum": words}
            )
        return self._scalar(kind, schema)

    def _referred(self, schema: Schema, path: str, depth: int) -> Schema:
        self._compare(schema, {"$ref"})
        try:
            target = self._end_of(schema)
        except MissingTarget:
            return self._shown_as(False)
        if id(target) in self._names:
            return ref(self._names[id(target)][0])
        return self._part(target, schema["$ref"].rpartition("/")[2], depth + 1)

    def _component_of(
        self, schema: Schema, path: str, depth: int, make: Callable[[Schema, str, int], Schema]
    ) -> Schema:
        if id(schema) not in self._names:
            if len(self._made) >= MOST_COMPONENTS:
                return self._shown_as(False)
            name = self._free_name(path)
            self._names[id(schema)] = (name, schema)
            self._made[name] = {}
            self._made[name] = _described(schema) | make(schema, path, depth)
        return ref(self._names[id(schema)][0])

    def _object(self, schema: Schema, path: str, depth: int) -> Schema:
        given, needed = schema.get("properties", {}), schema.get("required", [])
        wanted = [*given, *(name for name in needed if name not in given)]
        parts = {
            name: self._part(given.get(name, True), f"{path}_{name}", depth + 1)
            for name in told_apart(wanted)
        }
        properties = {
            name: part
            for name, part in parts.items()
            if is_typed(part) or name in needed or takes_anything(given[name])
        }
        self._shown_as(len(properties) == len(wanted))
        self._compare(
            schema, {"type", "properties", "required", "additionalProperties", *SIZES["object"]}
        )
        shown = {
            "type": "object",
            "properties": properties,
            "required": [name for name in needed if name in properties],
            "additionalProperties": self._others(schema, properties, wanted, path, depth),
            **self._kept(schema, SIZES["object"], _is_size),
        }
        kept = {key: value for key, value in shown.items() if value is False or value}
        return kept if properties else ANY_OBJECT | kept

    def _others(
        self, schema: Schema, properties: Schema, wanted: list[str], path: str, depth: int
    ) -> Any:
        others = schema.get("additionalProperties", True)
        if isinstance(others, dict) and not properties:
            return self._part(others, f"{path}_value", depth + 1)
        if others is False and len(properties) == len(wanted):
            return False
        return self._shown_as(others is True or others == {})

    def _array(self, schema: Schema, path: str, depth: int) -> Schema:
        items = True if "prefixItems" in schema else schema.get("items", True)
        self._compare(schema, {"type", "items", "uniqueItems", *SIZES["array"]})
        return {
            "type": "array",
            "items": self._part(items, f"{path}_item", depth + 1),
            **self._kept(schema, SIZES["array"], _is_size),
            **_described(schema),
        }

    def _scalar(self, kind: str, schema: Schema) -> Schema:
        formats = FORMATS.get(kind, set())
        kept = {
            "type": kind,
            **self._kept(schema, SIZES.get(kind, ()), _is_size),
            **self._kept(schema, ("format",), lambda value: value in formats),
        }
        if kind == "string":
            kept |= self._kept(schema, ("pattern",), _is_common_pattern)
        elif kind in {"integer", "number"}:
            kept |= self._kept(schema, BOUNDS, _is_bound)
        self._compare(schema, kept)
        return kept | _described(schema) | _default(kind, schema)

    def _kept(
        self, schema: Schema, keywords: Iterable[str], can_be_shown: Callable[[Any], bool]
    ) -> Schema:
        """Return those keywords whose values can be shown."""
        there = [keyword for keyword in keywords if keyword in schema]
        kept = {keyword: schema[keyword] for keyword in there if can_be_shown(schema[keyword])}
        self._shown_as(len(kept) == len(there))
        return kept

    def _compare(self, schema: Schema, shown: Iterable[str]) -> None:
        """Notice keywords that the document does not have."""
        self._shown_as(schema.keys() - ANNOTATIONS <= {*shown})

    def _shown_as(self, is_the_same: bool) -> Schema:
        """Notice whether the document says as much as the schema."""
        self._is_whole = self._is_whole and is_the_same
        return {}

    def _free_name(self, path: str) -> str:
        # With the word `payload` at one place alone, it is no name of another flow.
        part = re.sub("payload", "data", slug(path.removeprefix(self._component)), flags=re.I)
        name = f"{self._component}_{part}"
        number = 1
        while key_of(name) in self._keys:
            number += 1
            name = f"{self._component}_{part}_no_{number}"
        self._keys.add(key_of(name))
        return name

    def _end_of(self, schema: Schema) -> Schema:
        """Return what a chain of references leads to."""
        for _ in range(DEEPEST):
            if "$ref" not in schema:
                return schema
            schema = self._target(schema["$ref"])
        raise MissingTarget

    def _target(self, reference: str) -> Schema:
        if reference != "#" and not reference.startswith("#/"):
            raise MissingTarget
        target: Any = self._root
        for part in reference.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            target = target.get(part) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise MissingTarget
        return target


def types_of(schema: Schema) -> list[str]:
    """Return the types that a part may have; [] where it does not say so."""
    types = schema.get("type", [])
    if not types and not schema.keys().isdisjoint({"properties", "required"}):
        return ["object"]
    if not types and words_of(schema):
        return ["string"]
    return [each for each in ([types] if isinstance(types, str) else types) if each != "null"]


def words_of(schema: Schema) -> list[str]:
    """Return the words that a text is one of; [] if there are none, or generators mix them up."""
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return words if len(told_apart(words)) == len(words) else []


def told_apart(names: Iterable[Any]) -> list[str]:
    """Return the names that generated code can have, without those that would be alike."""
    found: dict[str, str] = {}
    for name in names:
        key = key_of(name) if isinstance(name, str) and NAME.fullmatch(name) else ""
        if key and not RESERVED.fullmatch(key):
            found.setdefault(key, name)
    return [*found.values()]


def without_null(schema: Schema) -> tuple[Schema, bool]:
    """Return the schema for what is not null, and whether null is allowed as well."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema and schema.keys() <= {choice, *ANNOTATIONS}:
            others = [part for part in schema[choice] if part != {"type": "null"}]
            if len(others) == 1 and isinstance(others[0], dict):
                return others[0], choice != "allOf" and len(schema[choice]) == 2
    types, words = schema.get("type"), schema.get("enum", [])
    if isinstance(types, list) and "null" in types:
        rest = {"enum": [word for word in words if word is not None]} if words else {}
        return schema | {"type": [each for each in types if each != "null"]} | rest, True
    if types is None and None in words:
        return schema | {"enum": [word for word in words if word is not None]}, True
    return schema, False


def is_typed(part: Schema) -> bool:
    """Return whether a part of the document has a type. Clients in Java send null for a member
    without one that was not set."""
    return not part.keys().isdisjoint({"type", "$ref", "anyOf"})


def takes_anything(schema: Any) -> bool:
    return schema is True or (isinstance(schema, dict) and schema.keys() <= ANNOTATIONS)


def _or_null(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    return schema


def _described(schema: Schema) -> Schema:
    description = schema.get("description") or schema.get("title")
    return {"description": as_comment(description)} if description else {}


def _default(kind: str, schema: Schema) -> Schema:
    """Return the default where every language can write it."""
    value = schema.get("default")
    is_plain = {
        "boolean": isinstance(value, bool),
        "integer": type(value) is int and _is_bound(value),
        "number": type(value) in (int, float) and _is_bound(value),
        "string": isinstance(value, str) and "format" not in schema and PLAIN.fullmatch(value),
    }
    return {"default": value} if is_plain.get(kind) else {}


def _is_size(value: Any) -> bool:
    return type(value) is int and value <= LARGEST_SIZE


def _is_bound(value: Any) -> bool:
    return abs(value) <= LARGEST_BOUND


def _is_common_pattern(pattern: str) -> bool:
    if not PATTERN.fullmatch(pattern):
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def as_comment(text: str) -> str:
    """Return an author's text without the ends of comments in some language."""
    return text.replace("*/", "* /").replace('"""', "'''")


def _as_text(schema: Schema) -> str:
    # In JSON an escaped slash is a slash.
    text = dumps(schema).decode(errors="replace").replace("*/", "*\\/")
    if len(text) > LONGEST_TEXT:
        return "The payload has to match `inputSchema` of the flow, see `getFlow`."
    return f"The payload has to match this JSON Schema:\n\n    {text}"
