import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.protocol.json_text import (
    MAX_DIGITS,
    depth_of,
    has_long_integer,
    is_deeper_than,
    items_of,
    member_of,
    place_deeper_than,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('[]{}",:\\\n 019')
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)
STYLES = st.sampled_from([None, 1, "\t", " \r\n"])


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, STYLES, st.booleans())
def test_depth_is_counted_without_reading_whatever_strings_hold(
    value: Any, indent: Any, is_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode()

    assert depth_of(text) == depth(value)
    assert is_deeper_than(text, 2) == (depth(value) > 2)


@given(st.lists(VALUES), STYLES)
def test_a_list_is_cut_into_the_texts_of_its_items(values: list[Any], indent: Any) -> None:
    text = json.dumps(values, indent=indent)

    assert [json.loads(item) for item, _ in items_of(text)] == values
    assert all(item in text for item, _ in items_of(text))


@given(st.dictionaries(TEXTS, VALUES, max_size=5), STYLES, st.booleans())
def test_a_member_is_found_as_it_is_written(
    members: dict[str, Any], indent: Any, is_ascii: bool
) -> None:
    text = json.dumps(members, indent=indent, ensure_ascii=is_ascii)

    for name, value in members.items():
        assert json.loads(member_of(text, name)) == value


def test_numbers_keep_every_digit() -> None:
    digits = ["1.10", "1e2", "-0", "0.30000000000000004", "9" * 5000]

    assert [text for text, _ in items_of(f"[{' , '.join(digits)}]")] == digits
    assert member_of(f'{{"a": 1, "payload" : {digits[4]} }}', "payload") == digits[4]


def test_of_members_with_one_name_the_last_counts_as_it_does_for_parsers() -> None:
    assert member_of('{"payload":1,"payload":2}', "payload") == "2"


@pytest.mark.parametrize("text", ["", "[", "[1", "[1,", "[1 2]", "{}", "1", '["a'])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        items_of(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"[[[]]]", "$[0][0]"),
        (b'{"a":[1,{"b c":[]}]}', "$.a[1]"),
        (b'["[", {"x":1,"y":{"z":{}}}]', "$[1].y"),
        (b'{"a":{"]":1},"\\"{":[ [ ]]}', '$["\\"{"][0]'),
        (b'{"\\x":[[', '$["…"][0]'),
        (b'{"\xff":[[', '$["…"][0]'),
    ],
)
def test_the_place_is_told_that_is_too_deep(text: bytes, place: str) -> None:
    assert place_deeper_than(text, 2) == place


def test_the_place_is_short_however_long_the_keys_are() -> None:
    text = b'{"%s":' % (b"k" * 1000) * 3 + b"1" + b"}" * 3

    assert len(place_deeper_than(text, 2)) < 300


def test_a_string_without_an_end_is_read_once_however_many_quotes_it_has() -> None:
    # Read anew from each of them it would take hours.
    text = b"[" * 9 + b'"' + b'\\"' * 2_000_000

    assert depth_of(text) == 9
    assert is_deeper_than(text, 8)
    assert place_deeper_than(text, 8) == "$" + "[0]" * 8
    assert not has_long_integer(text)


@pytest.mark.parametrize(
    ("text", "has_one"),
    [
        (b"1" * MAX_DIGITS, False),
        (b"[-%s]" % (b"1" * (MAX_DIGITS + 1)), True),
        (b'["%s"]' % (b"1" * (MAX_DIGITS + 1)), False),
        (b"0.%s" % (b"1" * (MAX_DIGITS + 1)), False),
    ],
)
def test_integers_are_long_when_python_does_not_read_them(text: bytes, has_one: bool) -> None:
    assert has_long_integer(text) == has_one
