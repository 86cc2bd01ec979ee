import json

import pytest

from scripts.schema import MAX_FAULTS, compile_schema, faults_of, schema_fault

TEXTS = compile_schema(json.dumps({"type": "array", "items": {"type": "string"}}))


def test_what_matches_has_no_faults():
    assert faults_of(TEXTS, ["a", "b"]) == []


def test_each_place_that_does_not_match_is_named_up_to_a_number():
    assert [fault["path"] for fault in faults_of(TEXTS, ["a", 1, "b", 2])] == ["$[1]", "$[3]"]
    assert len(faults_of(TEXTS, [1] * 1000)) == MAX_FAULTS


def test_of_a_large_value_only_the_first_place_is_named():
    # To find them all would take seconds for a start that is refused.
    assert faults_of(TEXTS, ["a", *range(500_000)]) == [
        {"path": "$[1]", "detail": '0 is not of type "string"'}
    ]


def test_a_fault_that_is_nested_too_deep_is_one_all_the_same():
    deep: list[object] = []
    for _ in range(3000):
        deep = [deep]

    assert faults_of(TEXTS, deep)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"amount": {"minimum": 2**70}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_json_schema_is_accepted(schema):
    assert schema_fault(schema) == ""


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"properties": {"a": {"type": "wrong"}}}, "['properties']['a']['type']"),
        ({"pattern": "("}, "regex"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "http://127.0.0.1:9/schema.json"),
        ({"$ref": "file:///etc/hostname"}, "file:///etc/hostname"),
        ({"$schema": "http://example.com/unknown"}, "http://example.com/unknown"),
    ],
)
def test_what_is_no_json_schema_or_points_outside_is_refused(schema, fault):
    assert fault in schema_fault(schema)
