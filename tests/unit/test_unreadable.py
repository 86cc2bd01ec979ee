"""How long a broker backs off from a queue whose messages its cluster cannot read."""

from flows.tasks.unreadable import (
    FIRST_BACK_OFF_SECONDS,
    LONGEST_BACK_OFF_SECONDS,
    OVER_SECONDS,
    UnreadableQueues,
)

QUEUE, OTHER = 1, 2


def back_off_from(queues: UnreadableQueues, clock: float) -> float:
    """Tell of an unreadable message, and return until when its queue is left alone."""
    queues.note(QUEUE, "no key", True, clock)
    until = clock
    while queues.backs_off(QUEUE, until):
        until += FIRST_BACK_OFF_SECONDS / 4
    return until


def test_a_queue_rests_for_longer_each_time_up_to_a_bound():
    queues, clock, back_offs = UnreadableQueues(), 100.0, []
    for _ in range(6):
        until = back_off_from(queues, clock)
        back_offs.append(until - clock)
        clock = until

    assert back_offs == [0.25, 0.5, 1.0, 2.0, LONGEST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS]
    assert not queues.backs_off(OTHER, 100.0)


def test_it_begins_again_with_a_short_back_off_once_messages_were_read_meanwhile():
    queues, clock = UnreadableQueues(), 100.0
    for _ in range(4):
        clock = back_off_from(queues, clock)

    assert back_off_from(queues, clock + 10) - (clock + 10) == FIRST_BACK_OFF_SECONDS


def test_several_workers_that_tell_of_it_at_once_make_it_no_longer():
    queues = UnreadableQueues()
    for _ in range(8):
        queues.note(QUEUE, "no key", True, 100.0)

    assert not queues.backs_off(QUEUE, 100.0 + FIRST_BACK_OFF_SECONDS)


def test_a_single_unreadable_message_is_known_for_a_while_and_its_queue_goes_on():
    queues = UnreadableQueues()
    queues.note(QUEUE, "was changed", False, 100.0)

    assert not queues.backs_off(QUEUE, 100.0)
    assert queues.known(100.0 + OVER_SECONDS) == {QUEUE: "was changed"}
    assert queues.known(101.0 + OVER_SECONDS) == {}
