import pytest

from flows.configuration.content import schema_fault


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
    assert schema_fault(schema) is None


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
    found = schema_fault(schema)

    assert found is not None
    assert found.startswith("is not a JSON Schema")
    assert fault in found
