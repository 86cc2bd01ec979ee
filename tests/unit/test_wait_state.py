"""What a waiting script leaves for its next attempt, also where a host does not keep the rules."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.store.waiting import reason_of, waiting_again, waits_at
from scripts.pool.answers import outcome_of
from scripts.pool.group import Group
from scripts.protocol.calls import Call, CallSite, Waits
from scripts.protocol.errors import ScriptWait
from scripts.protocol.wait_state import MAX_STATE_BYTES
from scripts.protocol.wire import KINDS, ProtocolError

EXTRA = orjson.dumps({"error": {"message": "no answer"}, "warning": None, "logs": []})
FORGED = [b"{", b"null", b"\xff", b"[" * 5_000, b"NaN", b'"%s"' % (b"x" * MAX_STATE_BYTES)]


def answered(state: bytes) -> ScriptWait:
    group = Group(CallSite("f", "s", "q", False), [Call(1, "c", 1, "d", b"{}")], 1)
    outcome = outcome_of((1, KINDS[ScriptWait], state, EXTRA, 0.0, 0.0), group, 1e12)
    assert isinstance(outcome.error, ScriptWait)
    return outcome.error


@pytest.mark.parametrize("state", [b"", b"{}", b'"***"', b"[1.50]"])
def test_a_state_comes_as_its_host_has_sent_it(state: bytes) -> None:
    assert answered(state).state == state.decode()


@pytest.mark.parametrize("state", FORGED, ids=lambda state: state[:8].decode("ascii", "replace"))
def test_what_no_script_can_leave_is_not_taken_from_a_host(state: bytes) -> None:
    with pytest.raises(ProtocolError):
        answered(state)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["", "{}", "1.50", '{"step":\n1e400}', "9" * 400]) | st.text(),
    st.integers(1, 9),
)
def test_what_a_message_keeps_is_read_as_it_was_written(reason, text, times) -> None:
    before = Waits(times, 17.5)

    kept = waiting_again(before, 3, 99.0, text, reason)

    assert waits_at(kept, 3) == Waits(times + 1, 17.5, text)
    assert waits_at(kept, 4) is None
    assert reason_of(kept) == (times + 1, reason)


@pytest.mark.parametrize("state", [b"9" * 400, b"-0.0", b"1e5", b"[1.50]"])
def test_the_digits_of_a_state_stay(state: bytes) -> None:
    assert answered(state).state == state.decode()
