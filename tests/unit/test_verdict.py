"""What a script asks for is taken as far as it can be meant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.store import Done, Fate, Held
from flows.worker.redelivery import LONGEST_DELAY, judge
from scripts.protocol.calls import Call, Outcome
from scripts.protocol.errors import ScriptRetry

LONGEST = LONGEST_DELAY.total_seconds()


def asked(after: Any) -> Done:
    held = Held("id", "01900000-0000-7000-8000-000000000000", 1, "{}", 1)
    call = Call(None, "id", 1, "id", b"{}")
    error = ScriptRetry(after=after, reason="busy")
    return judge(held, Outcome(call, None, error, None, [], 1.0, 2.0))


@pytest.mark.parametrize("after", [0, 0.5, 90, LONGEST])
def test_a_redelivery_comes_after_the_time_that_was_asked_for(after: float) -> None:
    done = asked(after)

    assert (done.fate, done.delay, done.slows) == (Fate.AGAIN, timedelta(seconds=after), True)
    assert done.error == "busy"


@pytest.mark.parametrize(
    "after", [1e10, 1e18, 10**400, LONGEST + 1, -1, float("nan"), float("inf"), "soon", []]
)
def test_a_time_that_cannot_be_meant_is_named_and_the_back_off_decides(after: Any) -> None:
    done = asked(after)

    assert (done.fate, done.delay, done.slows) == (Fate.AGAIN, None, False)
    assert "at most 366 days" in done.error
    assert "busy" in done.error
    assert len(done.error) < 300


@given(st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_whatever_a_callable_asks_for_raises_nothing(after: Any) -> None:
    done = asked(after)

    assert done.delay is None or timedelta(0) <= done.delay <= LONGEST_DELAY
