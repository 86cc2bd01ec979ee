"""Progress as it is checked, as it goes through the shared memory, and as people read it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.monitoring.progress import newest, progress_words
from scripts.protocol import wire
from scripts.protocol.envelope import plain_text
from scripts.protocol.progress import ProgressPage, checked, progress_of

MEASURES = st.floats(min_value=0, allow_infinity=False, allow_nan=False) | st.integers(0, 2**60)


@given(MEASURES, st.none() | MEASURES, st.text(max_size=600))
def test_the_worker_reads_what_a_call_has_told_last(done, total, text):
    memory = memoryview(bytearray(wire.SHARED_BYTES))
    page, told = ProgressPage(memory), checked(done, total, text)

    page.write(6, checked(1, 2, "of another call"))
    page.write(7, checked(1, 2, "x" * 1000))
    page.write(7, told)

    assert progress_of(memory, 7) == told
    assert progress_of(memory, 6) is None
    assert progress_of(memory, 0) is None


@given(st.binary(min_size=1, max_size=200), st.integers(0, wire.PROGRESS_BYTES), st.integers(0, 9))
def test_forged_memory_gives_nothing_or_what_can_be_stored(content, offset, writes):
    memory = memoryview(bytearray(wire.SHARED_BYTES))
    start = wire.PROGRESS_AT + offset
    memory[start : start + len(content)] = content
    numbers = memory.cast("Q")
    numbers[wire.PROGRESS_CALL], numbers[wire.PROGRESS_WRITES] = 7, writes

    told = progress_of(memory, 7)

    if told is not None:
        document = told.document(plain_text)
        assert 0 <= document["done"] < float("inf")
        assert document["total"] is None or 0 <= document["total"] < float("inf")
        assert len(document["text"]) <= 501
        assert "\x00" not in document["text"]
        assert document["at"] >= 0


@pytest.mark.parametrize(
    "wrong", [-1, float("nan"), float("inf"), 10**400, "3", b"3", True, [], Decimal("NaN")]
)
def test_what_is_no_number_from_0_on_is_refused(wrong):
    with pytest.raises(ValueError, match="done must be a finite number from 0 on"):
        checked(wrong, None, "")
    with pytest.raises(ValueError, match="total must be a finite number from 0 on"):
        checked(0, wrong, "")


def test_numbers_of_other_kinds_and_long_texts_are_taken():
    told = checked(Decimal("1.5"), Fraction(7, 2), "\x00" + "€" * 10_000).document(plain_text)

    assert (told["done"], told["total"]) == (1.5, 3.5)
    assert told["text"] == "\N{REPLACEMENT CHARACTER}" + "€" * 499 + "…"


@pytest.mark.parametrize(
    ("done", "total", "text", "words"),
    [
        (30, 120, "read", "30 of 120 (25 %): read"),
        (1500, None, "", "1,500"),
        (3, 0, "two\nlines", "3 of 0: two lines"),
        (9, 3, "", "9 of 3 (100 %)"),
    ],
)
def test_progress_is_a_line_for_people(done, total, text, words):
    assert progress_words({"done": done, "total": total, "text": text}) == words


def test_of_several_branches_the_last_value_counts():
    early, late = {"at": 1.0}, {"at": 2.0}

    assert newest(None, None) is None
    assert newest(late, early) == newest(early, late) == newest(None, late) == late
