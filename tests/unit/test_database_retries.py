"""When a session uses the database again after it could not."""

import logging

import pytest

from flows.store.troubles import Trouble
from flows.worker import database_retries
from flows.worker.database_retries import RETRY_SECONDS, DatabaseRetries


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(database_retries, "time", clock)
    return clock


def fail(retries):
    retries.begin(7, OSError("the network is down"), Trouble.AWAY)


def test_every_try_that_fails_waits_longer_up_to_a_second(clock):
    retries = DatabaseRetries()
    waits = []

    for _ in range(len(RETRY_SECONDS) + 2):
        fail(retries)
        waits.append(retries.wait())
        clock.now += waits[-1]

    assert waits == pytest.approx([*RETRY_SECONDS, 1.0, 1.0])


def test_the_wait_is_over_when_its_time_is(clock):
    retries = DatabaseRetries()
    fail(retries)

    clock.now += RETRY_SECONDS[0]

    assert (retries.wait(), retries.failed) == (0.0, 1)


def test_after_a_success_all_begins_anew(clock):
    retries = DatabaseRetries()
    for _ in range(4):
        fail(retries)

    retries.end()

    assert (retries.wait(), retries.failed) == (0.0, 0)
    fail(retries)
    assert retries.wait() == pytest.approx(RETRY_SECONDS[0])


def test_the_log_tells_of_the_first_failure_alone(clock, caplog):
    retries = DatabaseRetries()

    with caplog.at_level(logging.WARNING):
        fail(retries)
        fail(retries)

    assert [record.getMessage() for record in caplog.records] == [
        "consumer 7 cannot use the database: the connection is lost, or there is none."
        " the network is down"
    ]
