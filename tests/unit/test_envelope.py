import json
import tracemalloc
from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from hypothesis import example, given
from hypothesis import strategies as st

from flows.errors import PayloadInvalid
from flows.message.envelope import parse_payload, payload_of, with_payload, wrap
from flows.message.python_payload import write_payload
from tests.documents import content, objects

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
    "key twice": b'{"a": 1, "a": 2}',
    "key twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "key twice, and a colon escaped": b'{"a": 1, "a": "\\u003a"}',
    "number of 5,000 digits": b'{"a": 0.' + b"1" * 5000 + b"}",
    # Read anew from each quote it would take hours.
    "deep, and a string without an end": b'{"a":' + b"[" * 201 + b'"' + b'\\"' * 500_000,
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


def test_a_body_that_is_no_utf_8_says_so_with_the_byte():
    with pytest.raises(PayloadInvalid, match="The body is not UTF-8: its byte 8 is 0xff"):
        parse_payload(REFUSED["not UTF-8"])


LONG = b"1" * 4300


def test_a_payload_that_comes_back_may_have_the_integers_of_outputs():
    for digits in (b"1" * 400, b"-" + LONG, LONG):
        raw = b'{"a":[%s]}' % digits
        assert parse_payload(raw, comes_back=True) == {"a": [int(digits)]}
        with pytest.raises(PayloadInvalid, match="beyond what a double can hold"):
            parse_payload(raw)


@pytest.mark.parametrize(
    "raw",
    [*REFUSED.values(), b'{"a":1%s}' % LONG],
    ids=[*REFUSED, "integer of 4,301 digits"],
)
def test_a_long_integer_lets_nothing_else_through(raw):
    for each in (raw, raw.replace(b'{"a', b'{"big":%s,"a' % LONG, 1)):
        with pytest.raises(PayloadInvalid):
            parse_payload(each, comes_back=True)


DEEP = b'{"a":' * 199 + b"[1.0]" + b"}" * 199


def test_a_payload_may_be_nested_200_deep():
    assert parse_payload(DEEP)

    with pytest.raises(PayloadInvalid, match="nested more than 200 deep") as refusal:
        parse_payload(b'{"x":' + DEEP + b"}")
    assert refusal.value.errors[0]["path"].startswith("$.x.a")


PLACES = {
    b'{"a":{"b":[{"c":1,"c":2}]}}': "$.a.b[0].c",
    b'{"x y":{"":1, "":2}}': '$["x y"][""]',
    b'{"\\u003a":1, "b": {":":1,":":2}}': '$.b[":"]',
    b'{"a":[1,1e400]}': "$.a[1]",
    b'{"a":{"b":-1E+999}}': "$.a.b",
    b'{"b":{"a\\u0000":1}}': '$.b["a\\u0000"]',
    b'{"a":[1' + b"0" * 400 + b"]}": "$.a[0]",
    b'{"n":{"d":1.' + b"2" * 5000 + b"}}": "$.n.d",
    b'{"a":[1,NaN]}': "$.a[1]",
    b'{"a":[1,{"b":"\\ud800"}]}': "$.a[1].b",
}


@pytest.mark.parametrize(("raw", "place"), PLACES.items(), ids=PLACES.values())
def test_the_place_of_what_is_refused_is_named(raw, place):
    with pytest.raises(PayloadInvalid) as refusal:
        parse_payload(raw)

    assert [fault["path"] for fault in refusal.value.errors] == [place]


MEMBERS = {str(n): 1 for n in range(2000)}
ENDING = json.dumps(MEMBERS).encode()[1:] + b"}"


@pytest.mark.parametrize(
    "refused",
    [
        lambda: parse_payload(b'{"%s":{"a":1e999,%s' % (b"k" * 100_000, ENDING)),
        lambda: parse_payload(b'{"%s":{"a":"\\u0000",%s' % (b"k" * 100_000, ENDING)),
        lambda: write_payload({"k" * 100_000: {**MEMBERS, "a": object()}}),
    ],
    ids=["number", "NUL", "Python"],
)
def test_a_long_key_around_what_is_refused_takes_no_memory_for_each_member(refused):
    tracemalloc.start()
    try:
        with pytest.raises(PayloadInvalid) as refusal:
            refused()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 10_000_000
    assert len(refusal.value.errors[0]["path"]) < 300


@given(objects())
@example('{"a":"::","b":{"c":":"}}')
@example('{"a":"\\u003a"}')
def test_any_object_is_taken_and_its_numbers_are_as_large_as_they_are_written(text):
    payload = parse_payload(text.encode())

    assert _sizes(payload) == _sizes(json.loads(text, parse_float=Decimal))


def _sizes(value):
    if isinstance(value, dict):
        return [(key, _sizes(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [_sizes(item) for item in value]
    if isinstance(value, float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else value
        # What is smaller than any double is as good as nothing.
        return number if number.adjusted() > -300 else 0
    return value


@given(objects(), objects(), st.sampled_from(["a", "é", "__proto__", "1", ":", "", '"']))
def test_a_key_that_stands_twice_is_refused_wherever_it_is(first, second, key):
    name, escaped = json.dumps(key), json.dumps(key, ensure_ascii=False)

    with pytest.raises(PayloadInvalid, match="stands twice"):
        parse_payload(f'{{"x":[{first},{{{name}:{first}, {escaped}:{second}}}]}}'.encode())


@given(objects(), objects())
def test_another_payload_leaves_the_rest_of_the_envelope_as_it_is_written(old, new):
    body = f'{{"correlationId":"c","payload":{old},"price":12.50}}'

    changed = with_payload(body, new.encode())

    assert content(changed) == content(f'{{"correlationId":"c","payload":{new},"price":12.50}}')
    assert content(payload_of(changed)) == content(new)


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
        parse_payload(write_payload(payload))


class Color(StrEnum):
    RED = "red"


class Priority(IntEnum):
    URGENT = 9


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.datetimes()
    | st.sampled_from([Color.RED, Priority.URGENT]),
    lambda values: (
        st.lists(values)
        | st.tuples(values, values)
        | st.dictionaries(st.text() | st.integers(), values)
        | st.dictionaries(st.text(), values).map(OrderedDict)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text() | st.integers(), VALUES, max_size=3))
def test_a_python_payload_is_written_as_by_djangos_encoder(payload):
    try:
        written = json.dumps(payload, cls=DjangoJSONEncoder, allow_nan=False)
    except ValueError:
        with pytest.raises(PayloadInvalid):
            write_payload(payload)
    else:
        assert exactly(write_payload(payload)) == exactly(written)


def exactly(text):
    """Return the content, the order of the members and the type of each number."""
    return repr(json.loads(text))
