from __future__ import annotations

import json

import jsonschema_rs
import pytest

from scripts.trials.examples import example_payload


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": ""}),
        ({"properties": {"a": {"type": "integer", "minimum": 3}}}, {"a": 3}),
        ({"properties": {"a": {"enum": ["x", "y"]}}}, {"a": "x"}),
        ({"properties": {"a": {"default": 5, "type": "integer"}}}, {"a": 5}),
        ({"properties": {"a": {"type": ["boolean", "null"]}}}, {"a": False}),
        ({"properties": {"a": {"type": "array"}}}, {"a": []}),
        ({"properties": {"a": True}}, {"a": {}}),
        ({"properties": 5}, {}),
        (True, {}),
    ],
)
def test_an_example_looks_like_the_schema(schema, example):
    assert example_payload(schema) == example


POSITIVE = {"type": "number", "minimum": 0.5}
SCHEMAS = [
    {"type": "string", "minLength": 3},
    {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}(-x)?$"},
    {"type": "string", "pattern": "^(open|closed)\\d+$"},
    {"type": "string", "pattern": "^[^a-z]+$"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "email", "minLength": 5},
    {"minLength": 2},
    {"type": "integer", "exclusiveMinimum": 3},
    {"type": "integer", "minimum": 3.5},
    {"type": "integer", "maximum": -5},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "minimum": 7, "multipleOf": 5},
    {"type": "array", "minItems": 2, "items": {"type": "integer"}, "uniqueItems": True},
    {"type": "array", "minItems": 3, "items": {"type": "string"}, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "minItems": 2},
    {"type": "object", "required": ["a"]},
    {"required": ["a"], "additionalProperties": {"type": "string"}},
    {
        "$ref": "#/$defs/order",
        "$defs": {
            "order": {"required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}}
        },
    },
    {
        "properties": {"o": {"$ref": "#/$defs/o"}},
        "$defs": {"o": {"type": "string", "minLength": 1}},
    },
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "boolean"}}}]},
    {"oneOf": [{"type": "string", "minLength": 1}, {"type": "null"}]},
    {"anyOf": [{"properties": {"a": {"const": 5}}, "required": ["a"]}, {"required": ["b"]}]},
    {
        "properties": {
            "items": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "properties": {"q": {"type": "number", "minimum": 0.5}},
                    "required": ["q"],
                },
            }
        },
        "required": ["items"],
    },
    {"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_an_example_satisfies_its_schema(schema):
    example = example_payload(schema)

    validator = jsonschema_rs.validator_for(json.dumps(schema), validate_formats=True)
    assert [error.message for error in validator.iter_errors(example)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        # With a search that goes back and forth it would not end.
        "^(a|a){60}(?=b)",
        "^(a|aa){60}(?=b)",
        # Its text would have a terabyte.
        "(((a{1000}){1000}){1000}){1000}",
        "a{99999999}",
        "(" * 3000 + "a" + ")" * 3000,
    ],
)
def test_a_pattern_that_cannot_be_searched_in_time_has_no_example(pattern):
    assert example_payload({"type": "string", "pattern": pattern}) == ""


def test_a_pattern_that_looks_ahead_has_one():
    assert example_payload({"type": "string", "pattern": "^(?=a)a{3}$"}) == "aaa"


ITSELF = {letter: {"$ref": "#"} for letter in "abcdefghijklmnopqrstuvwxyz"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": ITSELF},
        {"properties": ITSELF, "required": list(ITSELF)},
        {"allOf": list(ITSELF.values())},
        {"type": "array", "minItems": 100, "items": {"$ref": "#"}},
        {"type": "array", "prefixItems": [{"$ref": "#"}] * 30},
        {
            "properties": {str(n): {"$ref": "#/$defs/long"} for n in range(2000)},
            "$defs": {"long": {"default": "x" * 100_000}},
        },
        {"properties": {str(n): {"minLength": 10_000} for n in range(2000)}},
    ],
    ids=range(7),
)
def test_an_example_is_short_however_often_a_schema_refers_to_its_parts(schema):
    assert len(json.dumps(example_payload(schema))) < 300_000
