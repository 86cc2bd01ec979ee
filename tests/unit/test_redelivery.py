"""What becomes of a delivery: every row of the rule, and what holds for all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.disposition import (
    Circumstances,
    DeadLetterReason,
    Decision,
    Disposition,
    StepOutcome,
)
from flows.worker.redelivery import (
    ACCEPTED,
    CANCELLED,
    LONGEST_DELAY,
    MAX_FAN_OUTS,
    RELEASED,
    WORKER_DIED,
    RedeliveryRules,
    Waited,
    after_call,
    decide,
    failed,
    in_commit,
    not_storable,
    put_aside,
    redeliver,
)
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptKilled,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptTimedOut,
    ScriptTooLate,
    ScriptWait,
)

LONGEST = LONGEST_DELAY.total_seconds()
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
RULES = RedeliveryRules(max_deliveries=3, backoff=lambda deliveries: deliveries * MINUTE)
WITH_AGE = RedeliveryRules(3, RULES.backoff, max_age=HOUR)
SHORT_WAIT = RedeliveryRules(3, RULES.backoff, max_wait=HOUR)
FAILURES = [
    ScriptError("it failed"),
    ScriptRaised("ValueError: no luck", traceback="line 1"),
    ScriptOutOfMemory(peak_bytes=1),
    ScriptTimedOut(),
    ScriptKilled(),
    ScriptRetry(reason="busy"),
]
NO_SUCH_QUEUE = Circumstances(lacks_next_queue=True)
WIDE = Circumstances(outputs=4, fan_outs=1, next_queue_size=3)
DEEP = Circumstances(outputs=1, fan_outs=MAX_FAN_OUTS, next_queue_size=3)
CANCELLED_RUN = Circumstances(is_cancelled=True)

ACCEPTED_, RETRY, WAITING, RELEASED_, DEAD, GONE = Disposition
COMPLETED, FAILED, REJECTED = StepOutcome.COMPLETED, StepOutcome.FAILED, StepOutcome.REJECTED


def at_first(error: ScriptError) -> StepOutcome:
    """Return how a script ends that is redelivered: one that asks for it has not failed."""
    return StepOutcome.RETRY if isinstance(error, ScriptRetry) else FAILED


# What has happened, after how many deliveries, under what rules, at what age of the run, in what
# circumstances; and what becomes of the message, how its script ended, and why it died.
TABLE: list[tuple[Any, ...]] = [
    (None, 1, RULES, MINUTE, None, ACCEPTED_, COMPLETED, None),
    # An output counts, however often it took and however old the run is.
    (None, 9, WITH_AGE, 2 * HOUR, None, ACCEPTED_, COMPLETED, None),
    (None, 1, RULES, MINUTE, NO_SUCH_QUEUE, DEAD, COMPLETED, "no-queue"),
    (None, 1, RULES, MINUTE, WIDE, DEAD, COMPLETED, "too-many-branches"),
    (None, 1, RULES, MINUTE, DEEP, DEAD, COMPLETED, "too-many-branches"),
    (None, 1, RULES, MINUTE, Circumstances(False, False, 3, 1, 3), ACCEPTED_, COMPLETED, None),
    (None, 1, RULES, MINUTE, Circumstances(False, False, 0, 1, 0), ACCEPTED_, COMPLETED, None),
    (ScriptRejected(reason="no"), 1, RULES, MINUTE, None, DEAD, REJECTED, "rejected"),
    (InputInvalid("no"), 1, RULES, MINUTE, None, DEAD, REJECTED, "invalid-output"),
    (OutputInvalid("no"), 1, RULES, MINUTE, None, DEAD, REJECTED, "invalid-output"),
    (
        ScriptInvalid("no", traceback="line 1"),
        1,
        RULES,
        MINUTE,
        None,
        DEAD,
        FAILED,
        "script-invalid",
    ),
    # It is told apart from what failed: neither deliveries nor age count.
    (ScriptTooLate(), 9, WITH_AGE, 2 * HOUR, None, RELEASED_, COMPLETED, None),
    # Waiting uses up no delivery; the age of the run counts.
    (ScriptWait(after=60.0), 9, RULES, MINUTE, None, WAITING, StepOutcome.WAITING, None),
    (ScriptWait(), 9, WITH_AGE, MINUTE, None, WAITING, StepOutcome.WAITING, None),
    (ScriptWait(after=3600.0), 1, WITH_AGE, MINUTE, None, DEAD, FAILED, "expired"),
    (ScriptWait(after=366 * 86400.0), 1, SHORT_WAIT, MINUTE, None, DEAD, FAILED, "waited-too-long"),
    (ScriptWait(after=1e9), 1, SHORT_WAIT, MINUTE, None, WAITING, StepOutcome.WAITING, None),
    (ScriptWait(after=60.0), 1, RULES, MINUTE, CANCELLED_RUN, GONE, StepOutcome.CANCELLED, None),
    *((error, 1, RULES, MINUTE, None, RETRY, at_first(error), None) for error in FAILURES),
    *((error, 2, WITH_AGE, MINUTE, None, RETRY, at_first(error), None) for error in FAILURES),
    *((error, 3, RULES, MINUTE, None, DEAD, FAILED, "exhausted") for error in FAILURES),
    *((error, 4, WITH_AGE, MINUTE, None, DEAD, FAILED, "exhausted") for error in FAILURES),
    # The wait counts: after it the run would be too old.
    *((error, 2, WITH_AGE, HOUR - MINUTE, None, DEAD, FAILED, "expired") for error in FAILURES),
    *(
        (error, 1, WITH_AGE, HOUR - MINUTE, None, RETRY, at_first(error), None)
        for error in FAILURES
    ),
    (ScriptRetry(after=3600.0), 1, WITH_AGE, MINUTE, None, DEAD, FAILED, "expired"),
    # A failure needs no next queue.
    (ScriptRaised("no"), 1, RULES, MINUTE, NO_SUCH_QUEUE, RETRY, FAILED, None),
    *(
        (error, 1, RULES, MINUTE, CANCELLED_RUN, GONE, StepOutcome.CANCELLED, None)
        for error in (None, ScriptTooLate(), ScriptRejected(), *FAILURES)
    ),
]


@pytest.mark.parametrize(
    ("error", "deliveries", "rules", "age", "found", "disposition", "outcome", "reason"), TABLE
)
def test_every_row_of_the_rule(error, deliveries, rules, age, found, disposition, outcome, reason):
    decision = decide(error, deliveries, rules, age, circumstances=found)

    assert (decision.disposition, decision.outcome, decision.reason) == (
        disposition,
        outcome,
        reason and DeadLetterReason(reason),
    )


def test_a_wait_counts_from_the_first_one_on():
    waited = Waited(times=3, time=HOUR - MINUTE)
    longer = after_call(ScriptWait(after=61.0, reason="no answer"))
    as_long = after_call(ScriptWait(after=60.0))

    died = redeliver(longer, 1, SHORT_WAIT, HOUR, waited)
    goes_on = redeliver(as_long, 1, SHORT_WAIT, HOUR, waited)

    assert died.reason is DeadLetterReason.WAITED
    assert died.error == "The script would wait longer than 3600 s. no answer"
    assert (goes_on.disposition, goes_on.delay) == (WAITING, MINUTE)


def test_a_wait_without_a_time_goes_by_the_back_off_for_its_number():
    decision = after_call(ScriptWait())

    assert redeliver(decision, 1, RULES, HOUR, Waited(times=2)).delay == 3 * MINUTE


def test_a_result_that_is_too_large_is_a_dead_letter_with_the_reason():
    decision = decide(None, 1, RULES, MINUTE, result_fault="The result has 9 bytes.")

    assert decision == Decision(
        DEAD, REJECTED, "The result has 9 bytes.", DeadLetterReason("too-large")
    )


def test_a_redelivery_waits_by_the_back_off_for_its_delivery():
    assert [decide(ScriptTimedOut(), n, RULES, MINUTE).delay for n in (1, 2)] == [
        MINUTE,
        2 * MINUTE,
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (NO_SUCH_QUEUE, "The queue of the next step no longer exists."),
        (WIDE, "It returned 4 messages, the next queue holds 3."),
        (DEEP, "It has fanned out 200 times already; that is the most."),
    ],
)
def test_what_cannot_be_handed_over_says_why(found, words):
    assert in_commit(ACCEPTED, found).error == words


def test_a_failure_is_told_with_its_traceback():
    assert after_call(ScriptRaised("ValueError: no", traceback="line 1")).error == (
        "ValueError: no\n\nline 1"
    )


def test_what_no_database_stores_is_written_otherwise():
    assert after_call(ScriptRaised("a\0b\ud800")).error == "a\\0b\\ud800"
    assert after_call(ScriptRejected(reason="a\0b")).error == "a\\0b"


@pytest.mark.parametrize("settled", [ACCEPTED, RELEASED, CANCELLED, WORKER_DIED, put_aside(MINUTE)])
def test_rules_of_redelivery_change_nothing_but_redeliveries(settled):
    assert redeliver(settled, 99, WITH_AGE, 2 * HOUR) is settled


def test_a_message_whose_workers_died_is_a_dead_letter_out_of_deliveries():
    assert (WORKER_DIED.disposition, WORKER_DIED.reason) == (DEAD, DeadLetterReason.EXHAUSTED)
    assert WORKER_DIED.cause == "worker-died"


def test_what_cannot_be_stored_is_a_dead_letter_or_waits_aside():
    assert not_storable("why").reason is DeadLetterReason.NOT_STORABLE
    assert (put_aside(MINUTE).disposition, put_aside(MINUTE).delay) == (RELEASED_, MINUTE)


ERRORS = st.sampled_from(
    [None, ScriptTooLate(), ScriptRejected(reason="no"), OutputInvalid("no"), *FAILURES]
) | st.builds(
    lambda kind, after: kind(after=after, reason="busy"),
    st.sampled_from([ScriptRetry, ScriptWait]),
    st.floats(0, LONGEST),
)
SPANS = st.timedeltas(timedelta(0), timedelta(days=400))


@st.composite
def rules(draw: st.DrawFn) -> RedeliveryRules:
    backoff = draw(SPANS)
    return RedeliveryRules(
        draw(st.integers(1, 9)), lambda deliveries: backoff, draw(st.none() | SPANS), draw(SPANS)
    )


@given(
    ERRORS,
    st.integers(1, 12),
    rules(),
    SPANS,
    st.builds(
        Circumstances,
        st.booleans(),
        st.booleans(),
        st.none() | st.integers(0, 9),
        st.integers(1, 2 * MAX_FAN_OUTS),
        st.integers(0, 9),
    ),
)
def test_whatever_happens_the_decision_is_one_that_the_store_can_apply(
    error: ScriptError | None,
    deliveries: int,
    rules: RedeliveryRules,
    age: timedelta,
    found: Circumstances,
) -> None:
    decision = decide(error, deliveries, rules, age, circumstances=found)

    disposition = decision.disposition
    assert (disposition is DEAD) == (decision.reason is not None), "dead letters alone have one"
    assert (disposition is GONE) == found.is_cancelled, "a cancellation comes before all else"
    if disposition is RETRY:
        assert deliveries < rules.max_deliveries, "none comes after the last delivery"
        assert decision.delay is not None
        assert not rules.max_age or age + decision.delay <= rules.max_age
    if disposition is WAITING:
        assert decision.delay is not None
        assert decision.delay <= rules.max_wait
    if disposition is ACCEPTED_:
        assert error is None
        assert not found.lacks_next_queue
    if error is not None and disposition is not GONE and not isinstance(error, ScriptTooLate):
        goes_on = WAITING if isinstance(error, ScriptWait) else RETRY
        assert disposition in (goes_on, DEAD), "a failure is never taken for an output"
    assert in_commit(decision, found) == decision, "a second look changes nothing"


def test_a_failure_without_rules_waits_for_them():
    assert failed("no").delay is None
