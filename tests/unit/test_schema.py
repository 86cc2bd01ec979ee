import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.protocol import formats
from scripts.protocol.schema import (
    MAX_FAULTS,
    Contract,
    compile_schema,
    faults_of,
    schema_fault,
    schema_text_fault,
)

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


OLD = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("draft", ["", OLD])
@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2026-11-28T10:00:00Z", "2026-11-28T10:00:00"),
        ("time", "10:00:00+01:00", "25:00:00Z"),
        ("duration", "P1DT2H", "1 day"),
        ("email", "ada@example.org", "ada"),
        ("hostname", "api.example.org", "-a.example.org"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "1::2::3"),
        ("json-pointer", "/a/0", "a"),
        ("regex", "a+", "("),
        ("uri", "https://example.org/a?b", "example.org"),
        ("uuid", "0190a1b2-0000-7000-8000-000000000001", "0190a1b2"),
    ],
)
def test_a_format_is_checked_of_texts_alone(draft: str, kind: str, right: str, wrong: str) -> None:
    schema = json.dumps({"format": kind} | ({"$schema": draft} if draft else {}))
    contract = Contract(input_schema=schema, output_schema=schema)

    def faults(value: object) -> list[dict[str, str]]:
        message = json.dumps({"payload": value}).encode()
        found = contract.input_faults(message)
        assert contract.output_faults(message, is_last=False) == found
        return found

    assert schema_text_fault(schema) == ""
    assert [faults(value) for value in (right, 5, None, [wrong])] == [[]] * 4
    [fault] = faults(wrong)
    said, _, hint = fault["detail"].partition(" (")
    assert (fault["path"], said) == ("$.payload", f'"{wrong}" is not a "{kind}"')
    assert ("an offset or Z" in hint) == (kind in ("date-time", "time"))


def test_a_name_that_does_not_match_is_told_as_a_name() -> None:
    contract = Contract(input_schema=json.dumps({"propertyNames": {"pattern": "^[a-z]+$"}}))

    [fault] = contract.input_faults(b'{"payload": {"A": 1}}')

    assert fault["detail"] == 'the name "A" does not match "^[a-z]+$"'


@pytest.mark.parametrize("kind", formats.FOR_READERS)
def test_a_format_of_openapi_is_for_readers(kind: str) -> None:
    schema = json.dumps({"properties": {"a": {"format": kind}}})

    assert schema_text_fault(schema) == ""
    assert Contract(schema).input_faults(b'{"payload":{"a":"x"}}') == []


def test_an_unknown_format_is_refused_where_a_schema_is_saved_and_ignored_elsewhere() -> None:
    schema = {"properties": {"format": {"format": "emial"}}, "default": {"format": "none"}}
    other = {"items": {"format": "colour"}}

    assert schema_fault(schema) == (
        "['properties']['format']['format']: the format 'emial' is not known; do you mean 'email'?"
    )
    assert "the format 'colour' is not known; there are date, date-time, " in schema_fault(other)
    assert Contract(json.dumps(schema)).input_faults(b'{"payload":{"format":"x"}}') == []


@settings(deadline=None)
@given(st.timedeltas(min_value=timedelta(0)))
def test_a_duration_as_other_systems_write_it_is_one_in_every_draft(length: timedelta) -> None:
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    text = f"P{minutes // 1440}DT{minutes // 60 % 24}H{minutes % 60}M{seconds}S"
    payload = json.dumps({"payload": text}).encode()

    for draft in ({}, {"$schema": OLD}):
        contract = Contract(json.dumps({"format": "duration"} | draft))
        assert contract.input_faults(payload) == []


HUGE = 12345678901234567890123


@pytest.mark.parametrize(
    ("rule", "number", "matches"),
    [
        (f'{{"const":{HUGE}}}', f"{HUGE}", True),
        (f'{{"const":{HUGE}}}', f"{HUGE + 1}", False),
        (f'{{"enum":[{HUGE}]}}', f"{HUGE - 1}", False),
        (f'{{"maximum":{HUGE - 1}}}', f"{HUGE}", False),
        (f'{{"maximum":{HUGE}}}', f"{HUGE}", True),
        ('{"maximum":18446744073709551616}', "18446744073709551617", False),
        ('{"minimum":9007199254740993}', "9007199254740992", False),
        ('{"multipleOf":10}', f"{HUGE}0", True),
        ('{"multipleOf":10}', f"{HUGE}1", False),
        ('{"multipleOf":0.01}', "1234567890123456.78", True),
        ('{"multipleOf":0.01}', "1234567890123456.785", False),
        ('{"multipleOf":0.1}', "0.3", True),
        ('{"maximum":0.3}', "0.30000000000000004", False),
        ('{"maximum":0.1}', "0.10000000000000000001", False),
        ('{"exclusiveMinimum":0}', "-0", False),
        ('{"type":"integer"}', "1.0", True),
        ('{"type":"integer"}', "1.50", False),
        ('{"type":"integer"}', "1234567890123456.7", False),
        ('{"type":"integer"}', "12345678901234567890.5", False),
        ('{"type":"string"}', "1.50", False),
        ('{"maximum":5}', "1e-400", True),
        ('{"uniqueItems":true}', f"[{HUGE},{HUGE + 1}]", True),
        ('{"uniqueItems":true}', "[1.0,1]", False),
    ],
)
def test_numbers_are_checked_as_they_are_written(rule: str, number: str, matches: bool) -> None:
    contract = Contract(input_schema=rule)

    faults = contract.input_faults(f'{{"payload":{number}}}'.encode())

    assert (faults == []) is matches, faults
