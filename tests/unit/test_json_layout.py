"""JSON text laid out, searched and changed as text."""

import json

import pytest
from hypothesis import example, given

from scripts.protocol.json_layout import indented, member, place_at, with_member
from tests.documents import content, objects, values


@given(values())
@example('{"a":1.50,"b":[],"c":{},"d":["\\u00e9\\u2028",{"e":1e5}]}')
@example("[" * 900 + "1.0" + "]" * 900)
def test_indented_text_says_the_same(text: str) -> None:
    assert content(indented(text)) == content(text)


@given(values())
def test_each_value_has_a_line_of_its_own_as_python_would_lay_it_out(text: str) -> None:
    value = json.loads(text)

    lines = indented(text).split("\n")

    assert len(lines) == len(json.dumps(value, indent=2, ensure_ascii=True).split("\n"))


@pytest.mark.parametrize("levels", [1025, 5000, 50_000])
def test_what_is_nested_too_deep_comes_back_as_it_is(levels: int) -> None:
    text = "[" * levels + "]" * levels

    assert indented(text) == text


def test_escaped_characters_are_shown_where_they_can_be() -> None:
    text = r'["\u00e9 \u0041 \\u0041", "\u202e\n", 1.50]'

    assert indented(text) == '[\n  "é A \\\\u0041",\n  "\\u202e\\n",\n  1.50\n]'


@given(objects(), objects())
def test_member_is_found_and_replaced_and_all_else_stays(text: str, other: str) -> None:
    whole = f'{{"before": {other} , "payload" :{text}, "after":{other}}}'

    changed = with_member(whole, "payload", other)

    assert content(member(whole, "payload") or "") == content(text)
    assert content(changed) == content(f'{{"before":{other},"payload":{other},"after":{other}}}')


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("{}", '{"payload":1.0}'),
        ('{ "a": "}" }', '{ "a": "}" ,"payload":1.0}'),
        ('{"pay\\u006coad": {"payload": 2}}', '{"pay\\u006coad": 1.0}'),
        ('{"a": {"payload": 2}}', '{"a": {"payload": 2},"payload":1.0}'),
        ('{"payload": ["payload", "x"], "b": 1}', '{"payload": 1.0, "b": 1}'),
    ],
)
def test_member_that_is_not_there_is_added(text: str, changed: str) -> None:
    assert with_member(text, "payload", "1.0") == changed


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": {"b": [1, {"c d": ?}]}}', '$.a.b[1]["c d"]'),
        ('[[], {"x": 1}, ?]', "$[2]"),
        ("?", "$"),
        ('{"a": [1, 2], "": {"": ?}}', '$[""][""]'),
        ('{"a": "}],{", "b": ?}', "$.b"),
    ],
)
def test_place_of_a_position_is_its_path(text: str, place: str) -> None:
    assert place_at(text, text.index("?")) == place
