from __future__ import annotations

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
