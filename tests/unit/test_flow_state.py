"""Changes of the state of a flow as they come from a host, which need not keep to the rules."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.pool.answers import outcome_of
from scripts.pool.group import Group
from scripts.protocol.calls import Call, CallSite, Outcome
from scripts.protocol.errors import ScriptRejected, ScriptRetry
from scripts.protocol.flow_state import MAX_CHANGES, Change, added, as_rows, from_rows
from scripts.protocol.wire import KINDS, OUTPUT, ProtocolError

BODY = b'{"correlationId":"c","payload":1}'
FORGED: list[Any] = [
    None,
    "x",
    {},
    [None],
    [[]],
    [["k", "set", "1", None]],
    [["k", "set", "1", None, None, 1]],
    [["k", "drop", "1", None, None]],
    [["", "set", "1", None, None]],
    [["k" * 201, "set", "1", None, None]],
    [["\0", "set", "1", None, None]],
    [[1, "set", "1", None, None]],
    [["k", "set", 1, None, None]],
    [["k", "set", "{", None, None]],
    [["k", "set", "NaN", None, None]],
    [["k", "set", "[" * 2000 + "]" * 2000, None, None]],
    [["k", "set", '"' + "x" * 65536 + '"', None, None]],
    [["k", "set", "1", -1, None]],
    [["k", "set", "1", True, None]],
    [["k", "set", "1", "1", None]],
    [["k", "set", "1", 1e300, None]],
    [["k", "set", "1", None, "1"]],
    [["k", "set", "1", None, -1]],
    [["k", "set", "1", None, 2**63]],
    [["k", "set", "1", None, True]],
    [["k", "add", "x", None, None]],
    [["k", "add", "1e999", None, None]],
    [["k", "add", "Infinity", None, None]],
    [["k", "add", "9" * 101, None, None]],
    [["k", "set", "1", None, None], ["k", "delete", "", None, None]],
    [[f"k{n}", "delete", "", None, None] for n in range(MAX_CHANGES + 1)],
    [[f"k{n}", "set", '"' + "x" * 60_000 + '"', None, None] for n in range(20)],
]


def answered(kind: int, rows: Any) -> Outcome:
    error = {"message": "later", "after": 1.0, "reason": "later"} if kind != OUTPUT else None
    extra = orjson.dumps({"error": error, "warning": None, "logs": [], "state": rows, "step": ""})
    group = Group(CallSite("f", "s", "q", True), [Call(1, "c", 1, "d", BODY)], 1)
    return outcome_of((1, kind, BODY if kind == OUTPUT else b"", extra, 0.0, 0.0), group, 1e12)


@pytest.mark.parametrize("rows", FORGED, ids=lambda rows: str(rows)[:40])
def test_changes_that_no_script_can_make_are_not_taken(rows: Any) -> None:
    with pytest.raises(ProtocolError):
        answered(OUTPUT, rows)


CHANGES = [
    Change("a", "set", "1.50", 60.0, 7),
    Change("b", "add", "-2"),
    Change("c", "read", seen=0),
]


def test_changes_come_as_a_host_has_sent_them() -> None:
    outcome = answered(OUTPUT, as_rows(CHANGES))

    assert outcome.state is not None
    assert list(outcome.state.changes) == CHANGES


def test_a_retry_has_changes_and_a_failure_has_none() -> None:
    retried = answered(KINDS[ScriptRetry], as_rows(CHANGES))

    assert isinstance(retried.error, ScriptRetry)
    assert retried.state is not None
    extra = {"error": {"message": "no"}, "warning": None, "logs": [], "state": as_rows(CHANGES)}
    group = Group(CallSite("f", "s", "q", True), [Call(1, "c", 1, "d", BODY)], 1)
    answer = (1, KINDS[ScriptRejected], b"", orjson.dumps(extra), 0.0, 0.0)
    assert outcome_of(answer, group, 1e12).state is None


NUMBERS = st.integers(-(10**30), 10**30).map(str) | st.decimals(-(10**6), 10**6, places=3).map(str)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.randoms())
def test_sums_are_exact_in_whatever_order(numbers: list[str], random: Any) -> None:
    total = "0"
    for number in numbers:
        total = added(total, number, "k")
    random.shuffle(numbers)
    other = "0"
    for number in numbers:
        other = added(other, number, "k")

    assert Fraction(total) == sum(map(Fraction, numbers)) == Fraction(other)
    assert from_rows([["k", "set", total, None, None]])[0].text == total
