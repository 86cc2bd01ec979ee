"""How many workers a cluster has, by a clock of the test's own."""

import pytest

from flows.worker.scaling import GROW_SECONDS, SHRINK_SECONDS, Scaling


@pytest.fixture
def clock(monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def numbers(scaling, clock, busy, waits, seconds, present=1):
    """Return the numbers of workers, one after the other, while this goes on for some seconds."""
    found = [present]
    for _ in range(int(seconds * 2)):
        clock[0] += 0.5
        present = scaling.next(present, min(busy, present), waits)
        if present != found[-1]:
            found.append(present)
    return found


def test_one_is_added_after_the_other_where_all_are_busy_and_messages_wait(clock):
    assert numbers(Scaling(1, 4), clock, busy=9, waits=True, seconds=60) == [1, 2, 3, 4]


def test_none_is_added_before_its_time_where_one_is_idle_or_where_nothing_waits(clock):
    scaling = Scaling(1, 4)

    assert numbers(scaling, clock, busy=9, waits=True, seconds=GROW_SECONDS) == [1]
    assert numbers(scaling, clock, busy=9, waits=False, seconds=60) == [1]
    assert numbers(Scaling(1, 4), clock, busy=1, waits=True, seconds=50, present=2) == [2]


def test_one_is_taken_after_the_other_where_one_is_idle_for_a_minute(clock):
    scaling = Scaling(1, 4)

    assert numbers(scaling, clock, busy=2, waits=False, seconds=SHRINK_SECONDS, present=4) == [4]
    assert numbers(scaling, clock, busy=2, waits=False, seconds=600, present=4) == [4, 3, 2]
    assert numbers(scaling, clock, busy=0, waits=False, seconds=600, present=2) == [2, 1]


def test_a_cluster_with_one_number_of_workers_keeps_it(clock):
    for most in (0, 2):
        scaling = Scaling(2, most)
        assert not scaling.is_on
        assert numbers(scaling, clock, busy=9, waits=True, seconds=60, present=2) == [2]
        assert numbers(scaling, clock, busy=0, waits=False, seconds=600, present=2) == [2]
