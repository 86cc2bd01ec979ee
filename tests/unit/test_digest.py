from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flows.message.digest import Digits, request_digest
from tests.examples import examples

# How long an example takes says nothing on a busy machine.
patient = settings(
    deadline=None, max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow]
)
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBER = r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?"
NUMBERS = st.from_regex(NUMBER, fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS.map(Digits),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)
PAYLOADS = st.dictionaries(TEXTS, VALUES)


def digest(text: str, priority: int = 4, start_at: datetime | None = None) -> str:
    return request_digest(f'{{"correlationId":"x","payload":{text}}}', priority, start_at)


def written(value: Any, draw: Any) -> str:
    """Write a value in one of the many ways that JSON allows."""
    gap = draw(st.sampled_from(["", " ", "\n\t", "\r\n"]))
    if isinstance(value, Digits):
        return repr(value) + gap
    if isinstance(value, str):
        return _text(value, draw)
    if isinstance(value, list):
        return "[" + gap + ("," + gap).join(written(item, draw) for item in value) + gap + "]"
    if isinstance(value, dict):
        members = [
            f"{_text(key, draw)}{gap}:{gap}{written(item, draw)}" for key, item in value.items()
        ]
        return "{" + gap + ("," + gap).join(draw(st.permutations(members))) + gap + "}"
    return json.dumps(value)


def _text(value: str, draw: Any) -> str:
    if draw(st.booleans()):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    units = value.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


@st.composite
def ways_to_write(draw: Any) -> tuple[str, str]:
    payload = draw(PAYLOADS)
    return written(payload, draw), written(payload, draw)


def plain(value: Any) -> Any:
    """Return the value with its numbers told apart from texts."""
    if isinstance(value, Digits):
        return ("number", str(value))
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, str) else ("word", value)


@st.composite
def changed_numbers(draw: Any) -> tuple[str, str]:
    number = draw(NUMBERS)
    at = draw(st.sampled_from([at for at, mark in enumerate(number) if mark.isdigit()]))
    other = number[:at] + draw(st.sampled_from("0123456789")) + number[at + 1 :]
    assume(other != number and re.fullmatch(NUMBER, other))
    return number, other


@patient
@given(ways_to_write())
def test_the_same_payload_written_differently_is_the_same(texts):
    first, second = texts

    assert digest(first) == digest(second)


@patient
@given(PAYLOADS, PAYLOADS, st.data())
def test_two_payloads_are_the_same_only_if_they_are_equal(one, other, data):
    same = digest(written(one, data.draw)) == digest(written(other, data.draw))

    assert same == (plain(one) == plain(other))


@patient
@given(changed_numbers())
def test_every_digit_counts(numbers):
    first, second = numbers

    assert digest(f'{{"n":{first}}}') != digest(f'{{"n":{second}}}')


@patient
@given(TEXTS, TEXTS)
def test_every_character_counts(one, other):
    texts = [digest(json.dumps({"text": text})) for text in (one, other)]

    assert (texts[0] == texts[1]) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"n":1}', '{"n":1.0}'),
        ('{"n":1}', '{"n":"1"}'),
        ('{"n":1}', '{"n":true}'),
        ('{"n":0}', '{"n":-0}'),
        ('{"n":1e5}', '{"n":100000}'),
        ('{"n":18446744073709551616}', '{"n":18446744073709551617}'),
        ('{"n":0.1}', '{"n":0.1000000000000000055}'),
        ('{"n":null}', "{}"),
        ('{"n":[]}', '{"n":{}}'),
        ('{"n":[1,[2]]}', '{"n":[[1],2]}'),
        ('{"n":"é"}', '{"n":"e\u0301"}'),
        ('{"n":"\\\\u00e9"}', '{"n":"é"}'),
        ('{"n":"None"}', '{"n":null}'),
    ],
)
def test_what_a_script_may_tell_apart_is_not_the_same(one, other):
    assert digest(one) != digest(other)


@patient
@given(st.integers(0, 9), st.integers(0, 9))
def test_priorities_count(one, other):
    assert (digest("{}", one) == digest("{}", other)) == (one == other)


@patient
@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_start_times_count(one, other):
    assert (digest("{}", 4, one) == digest("{}", 4, other)) == (one == other)
    assert digest("{}", 4, one) != digest("{}", 4)


def test_a_start_time_is_the_same_in_every_zone():
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))

    assert digest("{}", 4, NOON) == digest("{}", 4, berlin)


OPTIONS = st.tuples(
    st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda labels: tuple(sorted(labels.items()))),
    st.none() | st.timedeltas() | st.datetimes(timezones=st.just(UTC)),
)


@patient
@given(OPTIONS, OPTIONS)
def test_labels_and_deadlines_count(one, other):
    def of(options: Any) -> str:
        return request_digest('{"payload":{}}', 4, None, *options)

    assert (of(one) == of(other)) == (one == other)
    assert (of(one) == digest("{}")) == (one == ((), None))


@pytest.mark.parametrize(
    "edge",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_a_start_time_at_the_edge_of_the_calendar_counts_too(edge):
    assert digest("{}", 4, edge) != digest("{}", 4, NOON)
