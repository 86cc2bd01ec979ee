"""Answers that a script has forged in its host's pipe: an outcome that can be stored, or none."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.pool.answers import outcome_of
from scripts.pool.group import Group
from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite
from scripts.protocol.errors import OutputInvalid
from scripts.protocol.wire import ProtocolError

BODY = b'{"correlationId":"c","payload":{}}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=8,
)
TEXTS = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
EXTRAS = (
    st.just(b"")
    | TEXTS
    | JSON.map(lambda value: json.dumps({"error": value, "warning": None, "logs": []}).encode())
)


def outcome(kind: int, output: bytes, extra: bytes = b"", is_last: bool = False):
    site = CallSite("flow", "step", "queue", is_last, () if is_last else ("next", "later"))
    group = Group(site, [Call("k", "c", 1, "d", BODY)], 1)
    answer = (1, kind, output, extra, time.time(), 0.1)
    return outcome_of(answer, group, time.time())


@given(st.integers(0, 255), TEXTS, EXTRAS, st.booleans())
def test_any_frame_gives_an_outcome_that_can_be_stored_or_is_refused(kind, output, extra, is_last):
    try:
        found = outcome(kind, output, extra, is_last)
    except ProtocolError:
        return

    assert (found.output is None) == (found.error is not None)
    if found.output is not None:
        json.loads(found.output)
        assert b"\\u0000" not in found.output.replace(b"\\\\", b"")
        assert found.finishes == (kind == wire.FINISHED)
        assert (found.goes_to in ("next", "later")) == (kind == wire.WENT)


@given(JSON)
def test_a_frame_that_finishes_may_have_any_result_that_can_be_stored(value):
    found = outcome(wire.FINISHED, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))

    assert found.finishes
    assert found.error is None or isinstance(found.error, OutputInvalid)


@pytest.mark.parametrize("output", [b"", b"{", b"\xff", b"NaN", b"1 2"])
def test_a_frame_that_finishes_without_json_is_refused(output):
    with pytest.raises(ProtocolError):
        outcome(wire.FINISHED, output)


def test_what_is_nested_too_deep_finishes_nothing():
    found = outcome(wire.FINISHED, b"[" * 900 + b"]" * 900)

    assert isinstance(found.error, OutputInvalid)
    assert found.output is None


def went(step: object, output: bytes = BODY, is_last: bool = False):
    extra = json.dumps({"error": None, "warning": None, "logs": [], "step": step}).encode()
    return outcome(wire.WENT, output, extra, is_last)


def test_a_frame_that_goes_to_a_listed_step_is_taken():
    assert went("later").goes_to == "later"


@pytest.mark.parametrize("step", ["elsewhere", "", None, 7, ["later"], {"later": 1}, "later\0"])
def test_a_frame_that_goes_to_another_step_is_refused(step):
    with pytest.raises(ProtocolError):
        went(step)


def test_a_frame_that_goes_on_after_the_last_step_is_refused():
    with pytest.raises(ProtocolError):
        went("later", is_last=True)


@pytest.mark.parametrize("extra", [b"", b"{}", b"[]", b'{"step":"later"}'])
def test_a_frame_that_goes_on_without_saying_where_is_refused(extra):
    with pytest.raises(ProtocolError):
        outcome(wire.WENT, BODY, extra)


def test_what_goes_on_elsewhere_must_be_a_message():
    assert isinstance(went("later", b"[1]").error, OutputInvalid)
