"""Payloads of Python values: what is written how, and what is refused."""

from __future__ import annotations

import json
from collections import UserDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from math import nan
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils.functional import SimpleLazyObject, lazy, lazystr
from django.utils.translation import gettext_lazy

from flows import public
from flows.models import Message, Run
from tests.builders import make_flow

pytestmark = pytest.mark.django_db


def payload_of(run: UUID) -> dict:
    return json.loads(Message.objects.get(pk=run).body)["payload"]


def test_values_of_django_travel_as_its_own_encoder_writes_them():
    make_flow()
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    id = uuid4()

    run = public.start(
        "flow",
        {
            "moment": moment,
            "date": date(2026, 1, 2),
            "time": timedelta(seconds=90),
            "id": id,
            "price": Decimal("1.10"),
            "text": gettext_lazy("Yes"),
            "tuple": (1, 2),
        },
    )

    assert payload_of(run) == {
        "moment": "2026-01-02T03:04:05.678Z",
        "date": "2026-01-02",
        "time": "P0DT00H01M30S",
        "id": str(id),
        "price": "1.10",
        "text": "Yes",
        "tuple": [1, 2],
    }


class Priority(IntEnum):
    URGENT = 9


class Color(StrEnum):
    RED = "red"


class Text(str):
    """A project's own."""


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (lazystr("hey"), "hey"),
        ({lazystr("hey"): {gettext_lazy("Yes"): 1}}, {"hey": {"Yes": 1}}),
        ({Text("a"): Text("b"), Color.RED: Color.RED}, {"a": "b", "red": "red"}),
        ([Priority.URGENT, True, None], [9, True, None]),
        ({Priority.URGENT: 1, True: 2, None: 3, 1.5: 4}, {"9": 1, "true": 2, "null": 3, "1.5": 4}),
        (SimpleLazyObject(lambda: {"a": SimpleLazyObject(lambda: "b")}), {"a": "b"}),
        (Decimal("1e400"), "1E+400"),
        (MappingProxyType({"a": ({lazystr("b"): 1},)}), {"a": [{"b": 1}]}),
    ],
)
def test_what_stands_for_text_and_numbers_is_written_as_such(value, written):
    make_flow()

    run = public.start("flow", {"value": value})

    assert payload_of(run) == {"value": written}


def test_a_payload_keeps_its_order_where_keys_are_lazy():
    make_flow()
    payload: dict[Any, Any] = {"z": {}, lazystr("y"): [], "a": {}, lazystr("b"): 1}

    run = public.start("flow", payload)

    assert list(payload_of(run)) == ["z", "y", "a", "b"]


class Broken(UserDict):
    """Its members cannot be read."""

    def __getitem__(self, key):
        raise RuntimeError("the server has gone")


def nested(levels: int, around=lambda value: {"a": value}):
    value: object = 1
    for _ in range(levels):
        value = around(value)
    return value


CYCLE: dict = {"list": []}
CYCLE["list"].append(CYCLE)


NO_JSON: list[Any] = [
    ({"a": [0, {1}]}, "$.a[1]", "is of type set"),
    ({"a": {"b c": object()}}, '$.a["b c"]', "is of type object"),
    ({"a": float("nan")}, "$.a", "is nan, which JSON does not have"),
    ({"a": [float("-inf")]}, "$.a[0]", "is -inf"),
    ({"a": "\ud800"}, "$.a", "half a character"),
    ({"\ud800": 1}, "$", "half a character"),
    ({"a": {(1, 2): 1}}, "$.a", "has the key (1, 2)"),
    (CYCLE, "$.list[0]", "contains itself"),
    ({"a": b"bytes"}, "$.a", "is of type bytes"),
    ({1: "a", "1": "b"}, "$", "twice"),
    ({"a": {1: 1, lazystr("1"): 2}}, "$.a", "has the key '1' twice"),
    ({"a": Decimal("NaN")}, "$.a", "is NaN, which JSON does not have"),
    ({"a": [Decimal("sNaN")]}, "$.a[0]", "is sNaN"),
    ({"a": {"b": Decimal("-Infinity")}}, "$.a.b", "is -Infinity"),
    ({"a": UserDict({"b": ({"c": nan},)})}, "$.a.b[0].c", "is nan"),
    ({"a": 10**400}, "$.a", "is a number beyond what a double can hold"),
    ({"a": 10**5000}, "$.a", "is a number beyond what a double can hold"),
    ({"a": [Broken(b=1)]}, "$.a[0]", "cannot be read: RuntimeError: the server has gone"),
    (Broken(b=1), "$", "cannot be read: RuntimeError"),
    ({"a": lazy(lambda: 1 / 0, str)()}, "$.a", "cannot be read: ZeroDivisionError"),
    (nested(5000), "$.a.a.a", "is nested more than 200 deep"),
    ({"a": nested(5000, lambda value: [value])}, "$.a[0][0]", "is nested more than 200 deep"),
    ({"a": nested(5000, lambda value: (value,))}, "$.a[0][0]", "is nested more than 200 deep"),
    (MappingProxyType(nested(201)), "$.a.a.a", "is nested more than 200 deep"),
    (nested(5000, lambda value: UserDict(a=value)), "$.a.a.a", "is nested more than 200 deep"),
    ({"a": datetime(2026, 1, 1).time().replace(tzinfo=UTC)}, "$.a", "timezone-aware times"),
]


def test_what_is_no_json_is_refused_with_its_place():
    make_flow()

    for payload, place, told in NO_JSON:
        with pytest.raises(public.PayloadInvalid) as refusal:
            public.start("flow", payload)

        [fault] = refusal.value.errors
        assert fault["path"].startswith(place), told
        assert told in fault["detail"], told
        assert not Run.objects.exists(), told


def test_a_payload_is_nested_as_deep_as_json_text_may_be():
    make_flow()
    deepest = nested(200)

    plain = public.start("flow", deepest)
    lazily = public.start("flow", nested(200, lambda value: UserDict({lazystr("a"): value})))

    assert payload_of(plain) == payload_of(lazily) == deepest


@pytest.mark.parametrize("payload", [[], "text", 7, None])
def test_a_payload_that_is_no_object_is_refused(payload):
    make_flow()

    with pytest.raises(public.PayloadInvalid, match="must be a JSON object"):
        public.start("flow", payload)
