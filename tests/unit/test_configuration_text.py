import json

import pytest

from flows.configuration import ConfigurationInvalid, read_document, write_document
from flows.configuration.faults import Faults, inside
from flows.configuration.text import MAX_DEPTH, check_values


def faults_of(document) -> list[dict[str, str]]:
    faults = Faults()
    check_values(document, faults)
    try:
        faults.raise_if_any()
    except ConfigurationInvalid as error:
        return error.errors
    return []


def nested(levels: int):
    value: object = {}
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_document_is_written_with_two_spaces_in_utf_8_and_ends_with_a_newline():
    assert write_document({"flows": ["Prüfung"]}) == '{\n  "flows": [\n    "Prüfung"\n  ]\n}\n'


def test_a_written_document_is_read_as_it_was():
    document = {"scripts": [{"name": "ä", "code": "a\tb\r\n", "x": [1, 0.2, None, True, 2**70]}]}

    assert read_document(write_document(document).encode()) == document


def test_a_byte_order_mark_is_no_part_of_the_document():
    assert read_document(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1"),
        (b'{"flows": [}', "not JSON: .* line 1 column 12"),
        (b'{"flows": "\xff"}', r"not UTF-8: byte 11 \(0xff\)"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"rbac": NaN}', "NaN is not a JSON number"),
        (b'{"rbac": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"rbac": {"a": [], "a": []}}', 'the key "a" stands twice'),
        (b"9" * 5000, "not JSON: Exceeds the limit"),
        (b"[" * 200_000, "nested too deep"),
    ],
)
def test_what_is_no_document_is_refused_with_the_cause(raw, message):
    with pytest.raises(ConfigurationInvalid, match=message):
        read_document(raw)


@pytest.mark.parametrize(
    ("document", "path", "detail"),
    [
        ({"scripts": [{"code": "a\0b"}]}, "scripts[0].code", "\\u0000"),
        ({"scripts": [{"code": "\ud800"}]}, "scripts[0].code", "\\ud800"),
        ({"scripts": [{"inputSchema": {"a\0": 1}}]}, "scripts[0].inputSchema", "a key contains"),
        ({"queues": [{"size": float("inf")}]}, "queues[0].size", "not a number that JSON has"),
        ({"queues": [{"size": {1, 2}}]}, "queues[0].size", "is not JSON: set"),
        ({"queues": [{1: 2}]}, "queues[0]", "a key is not a string"),
    ],
)
def test_what_cannot_be_stored_is_found_with_its_place(document, path, detail):
    (fault,) = faults_of(document)

    assert fault["path"] == path
    assert detail in fault["detail"]


def test_values_are_found_in_the_order_of_the_document():
    assert [fault["path"] for fault in faults_of({"a": ["\0", "\0"], "b": "\0"})] == [
        "a[0]",
        "a[1]",
        "b",
    ]


def test_a_document_may_be_nested_to_a_limit():
    assert faults_of(nested(MAX_DEPTH)) == []
    assert "nested too deep" in faults_of(nested(MAX_DEPTH + 1))[0]["detail"]
    assert "nested too deep" in faults_of(nested(100_000))[0]["detail"]


def test_a_number_beyond_the_floats_is_refused():
    (fault,) = faults_of(read_document(b'{"queues": [1e999]}'))

    assert fault == {"path": "queues[0]", "detail": "is not a number that JSON has"}


def test_a_decimal_that_no_float_holds_is_refused():
    with pytest.raises(ConfigurationInvalid, match=r"1234567890123456\.78"):
        read_document(b'{"scripts": [{"inputSchema": {"maximum": 1234567890123456.78}}]}')


def test_a_place_reads_like_a_path_in_the_document():
    assert inside("", "flows", 2, "steps", 0, "script") == "flows[2].steps[0].script"
    assert inside("rbac", "loan-officers", "start") == "rbac.loan-officers.start"
    assert inside("rbac", 'loan "officers"') == "rbac[" + json.dumps('loan "officers"') + "]"
