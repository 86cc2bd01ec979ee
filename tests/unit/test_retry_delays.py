"""The delay that a script requests for a retry, where it can be meant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.disposition import Disposition
from flows.worker.redelivery import LONGEST_DELAY, RedeliveryRules, after_call, decide
from scripts.protocol.errors import ScriptRetry

LONGEST = LONGEST_DELAY.total_seconds()
MINUTE = timedelta(minutes=1)
RULES = RedeliveryRules(max_deliveries=3, backoff=lambda deliveries: deliveries * MINUTE)
RETRY = Disposition.RETRY


@pytest.mark.parametrize("after", [0, 0.5, 90, LONGEST])
def test_a_redelivery_comes_after_the_time_that_was_requested(after: float) -> None:
    decision = decide(ScriptRetry(after=after, reason="busy"), 1, RULES, MINUTE)

    assert (decision.disposition, decision.delay) == (RETRY, timedelta(seconds=after))
    assert decision.slows_queue
    assert decision.error == "busy"


@pytest.mark.parametrize(
    "after", [1e10, 1e18, 10**400, LONGEST + 1, -1, float("nan"), float("inf"), "soon", []]
)
def test_a_time_that_cannot_be_meant_is_named_and_the_back_off_decides(after: Any) -> None:
    decision = decide(ScriptRetry(after=after, reason="busy"), 1, RULES, MINUTE)

    assert (decision.disposition, decision.delay) == (RETRY, MINUTE)
    assert not decision.slows_queue
    assert "at most 366 days" in decision.error
    assert "busy" in decision.error
    assert len(decision.error) < 300


@given(st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_whatever_a_callable_requests_raises_nothing(after: Any) -> None:
    decision = after_call(ScriptRetry(after=after, reason="busy"))

    assert decision.delay is None or timedelta(0) <= decision.delay <= LONGEST_DELAY
