"""How long a queue rests whose messages a cluster cannot read."""

from flows.tasks.unreadable import (
    FIRST_REST_SECONDS,
    LONGEST_REST_SECONDS,
    OVER_SECONDS,
    UnreadableQueues,
)

QUEUE, OTHER = 1, 2


def rest_from(queues: UnreadableQueues, clock: float) -> float:
    """Tell of an unreadable message, and return until when the queue rests."""
    queues.note(QUEUE, "no key", True, clock)
    until = clock
    while queues.rests(QUEUE, until):
        until += FIRST_REST_SECONDS / 4
    return until


def test_a_queue_rests_for_longer_each_time_up_to_a_bound():
    queues, clock, rests = UnreadableQueues(), 100.0, []
    for _ in range(6):
        until = rest_from(queues, clock)
        rests.append(until - clock)
        clock = until

    assert rests == [0.25, 0.5, 1.0, 2.0, LONGEST_REST_SECONDS, LONGEST_REST_SECONDS]
    assert not queues.rests(OTHER, 100.0)


def test_it_begins_again_with_a_short_rest_once_messages_were_read_meanwhile():
    queues, clock = UnreadableQueues(), 100.0
    for _ in range(4):
        clock = rest_from(queues, clock)

    assert rest_from(queues, clock + 10) - (clock + 10) == FIRST_REST_SECONDS


def test_several_workers_that_tell_of_it_at_once_make_it_no_longer():
    queues = UnreadableQueues()
    for _ in range(8):
        queues.note(QUEUE, "no key", True, 100.0)

    assert not queues.rests(QUEUE, 100.0 + FIRST_REST_SECONDS)


def test_a_single_unreadable_message_is_known_for_a_while_and_its_queue_goes_on():
    queues = UnreadableQueues()
    queues.note(QUEUE, "was changed", False, 100.0)

    assert not queues.rests(QUEUE, 100.0)
    assert queues.known(100.0 + OVER_SECONDS) == {QUEUE: "was changed"}
    assert queues.known(101.0 + OVER_SECONDS) == {}
