"""The start form's reader and writer of JSON, run by the engine's own JavaScript interpreter."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import quickjs  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

import flows

SOURCE = Path(flows.__file__).parent / "static/flows/exact_json.js"

numbers = st.one_of(
    st.integers(min_value=-(10**40), max_value=10**40),
    st.builds(
        lambda whole, places: Decimal(f"{whole}.{places:030}"),
        st.integers(min_value=-(10**9), max_value=10**9),
        st.integers(min_value=0, max_value=10**30 - 1),
    ),
)
names = st.text(max_size=8) | st.sampled_from(["__proto__", "2", "10", "constructor"])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def rewritten():
    """Return a function that reads and writes a text as the start form does."""
    context = quickjs.Context()
    context.eval(re.sub(r"^export ", "", SOURCE.read_text(), flags=re.MULTILINE))
    # The binding knows no ropes, which the interpreter makes of long texts: join makes one text.
    context.eval(
        "globalThis.rewritten = (text) => {"
        " try { return [write(parse(text))].join(''); }"
        " catch (error) { if (error instanceof JsonFault) return error.message; throw error; } }"
    )
    return context.get("rewritten")


def as_json(value: Any) -> str:
    """Return JSON text with the digits that the value has."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{{{}}}".format(",".join(f"{json.dumps(k)}:{as_json(v)}" for k, v in value.items()))
    if isinstance(value, list):
        return "[{}]".format(",".join(map(as_json, value)))
    return json.dumps(value)


def read(text: str) -> Any:
    """Return the value with numbers as they are written, and members in their order."""
    pairs = {"object_pairs_hook": lambda members: ("object", members)}
    return json.loads(text, parse_int=lambda d: ("n", d), parse_float=lambda d: ("n", d), **pairs)


@given(values)
def test_a_value_is_written_as_it_was_read_digit_for_digit(rewritten, value):
    text = as_json(value)

    assert read(rewritten(text)) == read(text)


@pytest.mark.parametrize("number", ["1.50", "-0", "1e5", "1E+400", "0.10000000000000000555"])
def test_a_number_keeps_its_form(rewritten, number):
    assert rewritten(f" [ {number} ] ") == f"[\n  {number}\n]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Line 1: the text ends too early."),
        ('{"a": 1', "Line 1: the text ends too early."),
        ('{"a": 1,\n "a": 2}', 'Line 2: the name "a" stands twice in one object.'),
        ("[1,]", "Line 1: a value is missing here."),
        ("{1: 2}", "Line 1: a name in double quotes is missing here."),
        ("[01]", "Line 1: “,” is missing here."),
        ("{}\n{}", "Line 2: the text goes on behind its end."),
        ("[NaN]", "Line 1: this is not JSON."),
        ("'a'", "Line 1: this is not JSON."),
        ('"\\x"', "Line 1: this string is not JSON."),
        ('["\n"]', "Line 1: this is not JSON."),
        ("[" * 201 + "]" * 201, "Line 1: nested more than 200 deep."),
    ],
)
def test_a_fault_has_its_line(rewritten, text, fault):
    assert rewritten(text) == fault
