import json
from uuid import UUID

import pytest

from flows.envelope import dump_payload, parse_payload, wrap
from flows.errors import PayloadInvalid

REFUSED = {
    "broken": b'{"a": ',
    "array": b"[1, 2]",
    "number": b"17",
    "null": b"null",
    "empty": b"",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e999}',
    "NUL in a value": b'{"a": ["x", {"b": "y\\u0000"}]}',
    "NUL in a key": b'{"a\\u0000": 1}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "not UTF-8": b'{"a": "\xff"}',
    "10,000 deep": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "trailing text": b'{"a": 1} x',
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_travel_is_refused(raw):
    with pytest.raises(PayloadInvalid) as refusal:
        parse_payload(raw)

    assert str(refusal.value)


def test_the_place_of_a_nul_character_is_named():
    with pytest.raises(PayloadInvalid) as refusal:
        parse_payload(REFUSED["NUL in a value"])

    assert refusal.value.errors[0]["path"] == "$.a[1].b"


def test_an_escaped_backslash_before_u0000_is_no_nul_character():
    assert parse_payload(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


def test_numbers_of_any_length_keep_their_digits_in_the_envelope():
    body = wrap(UUID(int=1), b'{"n": 123456789012345678901234567890}')

    assert json.loads(body)["payload"]["n"] == 123456789012345678901234567890


def test_the_envelope_names_the_correlation_id_first():
    body = wrap(UUID(int=1), b"{}")

    assert body == '{"correlationId":"00000000-0000-0000-0000-000000000001","payload":{}}'


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": {1}}, {"a": "\ud800"}, [1]])
def test_a_python_payload_is_held_to_the_same_rules(payload):
    with pytest.raises(PayloadInvalid):
        dump_payload(payload)
