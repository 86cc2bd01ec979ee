"""Which texts have numbers that a language would write in another way."""

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.protocol.envelope import decode_output, encode
from scripts.protocol.numerals import loads, may_change
from tests.documents import content, values


@given(values())
@example("[-0]")
@example('{"a":1e5}')
def test_what_is_not_at_risk_is_written_as_it_came(text: str) -> None:
    if not may_change(text.encode()):
        assert content(orjson.dumps(json.loads(text))) == content(text)


@given(values(), st.booleans())
@example('{"a":[1,"\\u0001"],"b":null}', False)
@example('{"a":"\\u0000"}', False)
def test_output_that_needs_no_encoding_is_what_encode_writes(text: str, is_compact: bool) -> None:
    given = orjson.dumps(orjson.loads(text)) if is_compact else text.encode()

    output, is_as_encoded = decode_output(given, {})

    if is_as_encoded:
        assert encode(output) == given
    else:
        assert not is_compact or b"\\u0000" in given or may_change(given)


@pytest.mark.parametrize(
    "text",
    [
        '{"note":"call at 12.50, or 1e5","n":12.5}',
        '{"note":"\\" 12.50","more":"[-0, 1.0]","n":[1,-2,0.5]}',
        '{"at":"2026-01-01 10:00:00.000000","id":"0190a1b2: 12345678901234567890"}',
        '["\\\\"," 1.50"]',
        "{}",
    ],
)
def test_what_looks_like_a_number_in_a_string_is_none(text: str) -> None:
    assert not may_change(text.encode())


@pytest.mark.parametrize(
    "text", ["1.0", '{"a":"\\"","b":1.50}', '["x: 1.50",1.50]', '["\\\\",-0]', "[ 1E5]", "[0.10]"]
)
def test_a_number_behind_strings_is_found(text: str) -> None:
    assert may_change(text.encode())


def test_a_text_with_a_string_without_an_end_is_read_once() -> None:
    # As the body of an answer may have one. Read anew from each quote it would take hours.
    assert not may_change(b'"' + b'\\"' * 2_000_000 + b": 1.50")


def test_a_number_beyond_a_float_has_no_writing() -> None:
    numerals: dict[int, tuple[object, str]] = {}

    value = loads(b'{"a":1e999}', numerals)

    assert value == {"a": float("inf")}
    assert numerals == {}
