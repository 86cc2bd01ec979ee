"""How many messages a session takes at once."""

from types import SimpleNamespace

import pytest

from flows.worker import batch_sizes
from flows.worker.batch_sizes import BATCH_BYTES, BATCH_MESSAGES, BatchSizes


def sizes(seconds):
    return BatchSizes(SimpleNamespace(seconds_per_call=lambda program: seconds))


def plan(in_transaction=False):
    return SimpleNamespace(program=SimpleNamespace(in_transaction=in_transaction))


def calls(count, bytes_each):
    return [SimpleNamespace(body=b"x" * bytes_each) for _ in range(count)]


@pytest.mark.parametrize(
    ("seconds", "threads", "size"),
    [
        (None, 4, 4),
        (10.0, 4, 4),
        (0.01, 1, 20),
        (0.01, 4, 40),
        (0.01, 64, 128),
        (0.05, 10, 13),
        (0.05, 3, 8),
        (1e-9, 4, BATCH_MESSAGES),
        (0.0, 4, BATCH_MESSAGES),
    ],
)
def test_a_batch_is_a_message_a_thread_and_those_of_a_commit_or_a_fifth_of_a_second(
    seconds, threads, size, monkeypatch
):
    monkeypatch.setattr(batch_sizes, "CORES", 2)

    assert sizes(seconds).size(plan(), threads) == size


@pytest.mark.parametrize(("seconds", "size"), [(None, 1), (10.0, 1), (0.01, 20)])
def test_callables_in_a_transaction_run_one_after_the_other(seconds, size):
    assert sizes(seconds).size(plan(in_transaction=True), 4) == size


def test_large_messages_are_taken_a_few_at_a_time():
    large = sizes(1e-6)

    assert large.note(calls(2, BATCH_BYTES // 4)) == BATCH_BYTES // 2

    assert large.size(plan(), 1) == 4


def test_large_messages_are_forgotten_one_batch_after_the_other():
    large = sizes(1e-6)
    large.note(calls(1, BATCH_BYTES))
    before = large.size(plan(), 1)

    for _ in range(60):
        large.note(calls(1, 1))

    assert (before, large.size(plan(), 1)) == (1, BATCH_MESSAGES)
