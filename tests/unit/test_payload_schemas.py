from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.api.openapi.payload_schemas import MOST_COMPONENTS, key_of, payload_components

BASE = "#/components/schemas/start_x_payload"
TEXT = "The payload has to match this JSON Schema:"


def shown(schema: dict[str, Any]) -> Any:
    return payload_components(schema, "start_x_payload")["start_x_payload"]


def test_definitions_become_components_of_their_own():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An order",
        "type": "object",
        "required": ["lines"],
        "properties": {
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "child": {"$ref": "#"},
            "total": {"$ref": "#/$defs/money"},
        },
        "$defs": {
            "line": {"type": "object", "properties": {"next": {"$ref": "#/$defs/line"}}},
            "money": {"type": "integer", "minimum": 0},
            "unused": {"type": "string"},
        },
    }

    assert payload_components(schema, "start_x_payload") == {
        "start_x_payload": {
            "description": "An order",
            "type": "object",
            "properties": {
                "lines": {"type": "array", "items": {"$ref": f"{BASE}_line"}},
                "child": {"$ref": BASE},
                "total": {"type": "integer", "minimum": 0},
            },
            "required": ["lines"],
        },
        "start_x_payload_line": {
            "type": "object",
            "properties": {"next": {"$ref": f"{BASE}_line"}},
        },
    }


def test_what_may_be_null_says_so():
    properties = {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"type": ["null", "integer"]},
        "c": {"anyOf": [{"$ref": "#/$defs/c"}, {"type": "null"}]},
        "d": {"enum": ["x", "y", None]},
    }

    made = shown({"properties": properties | {"D": {}}, "$defs": {"c": {"type": "object"}}})

    assert made["properties"]["a"] == {"type": ["string", "null"]}
    assert made["properties"]["b"] == {"type": ["integer", "null"]}
    assert made["properties"]["c"] == {"anyOf": [{"$ref": f"{BASE}_c"}, {"type": "null"}]}


@pytest.mark.parametrize(
    "part",
    [
        {"prefixItems": [{"type": "string"}], "items": False},
        False,
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": ["string", "integer"]},
        {"const": 1},
        {"enum": ["b", "B"]},
        {"type": "string", "pattern": "\\p{L}"},
        {"type": "string", "format": "duration"},
        {"type": "integer", "maximum": 2**64},
        {"$ref": "https://example.com"},
        {"$ref": "#/$defs/missing"},
        {"$id": "https://example.com/x", "type": "object"},
        {"type": "object", "properties": {"a b": {}, "a_b": {}}},
        {"type": "object", "properties": {"additionalProperties": {}}},
        {"type": "object", "properties": {"\"' */": {}}},
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
        {"type": "string", "nullable": True},
    ],
)
def test_schema_that_says_more_than_clients_can_is_there_as_a_text(part):
    schema = {"type": "object", "properties": {"part": part}}

    made = shown(schema)

    before, text = made["description"].split("\n\n    ")
    assert before == TEXT
    assert json.loads(text) == schema
    assert "*/" not in text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": True},
        {"properties": {"x": {"minimum": 1, "exclusiveMinimum": True}}},
        {"properties": {"x": {"items": [{}]}}},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
    ],
)
def test_schema_of_another_kind_is_any_object_with_its_text(schema):
    made = shown(schema)

    assert made.pop("description").startswith(TEXT)
    assert made == {"type": "object", "additionalProperties": True}


def test_texts_of_an_author_do_not_end_comments():
    schema = {"description": '*/ """', "properties": {"x": {"title": "*/", "type": "string"}}}

    assert "*/" not in json.dumps(shown(schema))
    assert '"""' not in shown(schema)["description"]


def test_number_of_components_is_bounded():
    part: Any = {"type": "string"}
    for level in range(15):
        part = {"type": "object", "properties": {f"{side}{level}": part for side in "ab"}}
    wide = {"properties": {f"p{n}": {"type": "object"} for n in range(MOST_COMPONENTS * 2)}}

    assert len(payload_components(part, "start_x_payload")) <= MOST_COMPONENTS
    assert len(payload_components(wide, "start_x_payload")) <= MOST_COMPONENTS


NAMES = st.sampled_from(["a", "A", "a b", "größe", "日本", "'\"", "payload", "d", "$ref", "items"])
SCALARS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "null", "object"]),
        "enum": st.lists(st.one_of(st.none(), st.integers(), NAMES), min_size=1, unique_by=repr),
        "format": st.sampled_from(["date-time", "x"]),
        "maximum": st.integers(),
        "maxLength": st.integers(min_value=0),
        "default": st.one_of(st.none(), st.text(), st.integers(), st.booleans()),
        "description": st.text(),
        "nullable": st.text(),
        "$ref": st.sampled_from(
            ["#", "#/$defs/a", "#/$defs/A/properties/a", "x", "#/properties/a"]
        ),
    },
)
SCHEMAS = st.recursive(
    st.one_of(st.booleans(), SCALARS),
    lambda parts: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array"]),
            "properties": st.dictionaries(NAMES, parts),
            "required": st.lists(NAMES, unique=True),
            "additionalProperties": parts,
            "items": parts,
            "anyOf": st.lists(parts, min_size=1),
            "$defs": st.dictionaries(NAMES, parts),
        },
    ),
    max_leaves=20,
)


@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict) and schema))
def test_whatever_the_schema_its_components_are_found_and_told_apart(schema):
    components = payload_components(schema, "start_x_payload")

    jsonschema_rs.meta.validate({"$defs": components})
    assert {*references(components)} <= {f"#/components/schemas/{name}" for name in components}
    assert len({key_of(name) for name in components}) == len(components)
    # So they are none of another flow: those have the word at another place.
    assert all(name.lower().count("payload") == 1 for name in components)


def references(value: Any):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for name, part in value.items():
            if name not in {"examples", "default", "enum"}:
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)
