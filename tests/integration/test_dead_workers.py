"""The messages of workers that die: delivered again, and the one that kills is found."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import engine
from flows.models import Consumer, DeadLetter, Message, Queue, Run, StepRun
from flows.store import HeldMessage, Lease, store
from flows.worker.redelivery import failed, in_commit
from tests.builders import (
    ECHO,
    RAISING,
    counters,
    make_flow,
    open_lease,
    run_of,
    work,
)
from tests.examples import examples
from tests.integration.deliveries import passed, taken_in_turn

pytestmark = pytest.mark.django_db


def hold_one(queue: str) -> None:
    """Take messages as a worker does that dies before its scripts answer."""
    assert store().claim(open_lease(queue), lambda plan, threads: threads)


def test_the_messages_of_a_dead_worker_come_back_with_their_delivery_counted():
    make_flow(codes=[ECHO, ECHO])
    engine.start("flow", {})
    hold_one("flow-0")
    assert counters("flow-1") == (0, 1)

    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))

    message = Message.objects.get()
    assert (message.queue.name, message.consumer, message.deliveries) == ("flow-0", None, 1)
    assert counters("flow-1") == (0, 0)
    assert not Consumer.objects.exists()


def test_what_a_dead_worker_held_keeps_its_place_before_what_came_later():
    make_flow(codes=[ECHO], threads=1)
    first = engine.start("flow", {}).correlation_id
    hold_one("flow-0")
    later = engine.start("flow", {}).correlation_id

    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))

    assert taken_in_turn("flow-0") == [first, later]


def test_what_killed_its_worker_twice_lets_the_others_go_first():
    make_flow(codes=[ECHO], threads=1)
    first = engine.start("flow", {}).correlation_id
    hold_one("flow-0")
    later = engine.start("flow", {}).correlation_id
    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))
    hold_one("flow-0")

    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))

    assert taken_in_turn("flow-0") == [later, first]


def test_a_message_whose_workers_die_is_dead_lettered_after_its_last_delivery():
    make_flow(codes=[ECHO], max_deliveries=2)
    started = engine.start("flow", {})
    for _ in range(2):
        hold_one("flow-0")
        store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))

    work("flow-0")

    dead = DeadLetter.objects.get()
    assert dead.deliveries == 2
    assert "worker died" in dead.error
    assert run_of(started.correlation_id).status == Run.Status.FAILED
    assert counters("flow-0") == (0, 0)


def test_a_message_whose_queue_has_fewer_deliveries_by_then_dies_of_its_last_error():
    make_flow(codes=[RAISING], backoff_initial=timedelta(0))
    started = engine.start("flow", {})
    for _ in range(2):
        lease, [held] = take(1)
        result = replace(passed(held), decision=replace(failed("no luck"), delay=timedelta(0)))
        store().commit(lease, [result], in_commit, lambda plan, threads: 1, claim=False)
    Queue.objects.update(max_deliveries=2)

    work("flow-0")

    dead = DeadLetter.objects.get()
    assert (dead.reason, dead.cause) == (DeadLetter.Reason.EXHAUSTED, DeadLetter.Cause.FAILED)
    assert (dead.error, dead.deliveries) == ("no luck", 2)
    run = run_of(started.correlation_id)
    assert (run.error, run.step_runs.count()) == ("no luck", 2)


def die() -> None:
    """End all leases as those of workers that died."""
    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))


def take(threads: int) -> tuple[Lease, list[HeldMessage]]:
    lease = open_lease("flow-0", threads=threads)
    return lease, store().claim(lease, lambda plan, threads: threads)


def test_what_a_dead_worker_held_is_delivered_in_halves_at_once():
    make_flow(codes=[ECHO], threads=8)
    engine.start_many("flow", [{"n": n} for n in range(8)])
    take(8)
    die()
    engine.start("flow", {})

    lease, first = take(8)
    second = store().commit(
        lease, [passed(h) for h in first], in_commit, lambda p, threads: threads, claim=True
    )
    third = store().commit(
        lease, [passed(h) for h in second], in_commit, lambda p, threads: threads, claim=True
    )

    assert [len(first), len(second), len(third)] == [4, 4, 1]


def test_suspects_become_fewer_with_every_death_of_a_worker():
    make_flow(codes=[ECHO], threads=8)
    engine.start_many("flow", [{"n": n} for n in range(8)])
    sizes = []

    for _ in range(5):
        _, held = take(8)
        sizes.append(len(held))
        die()

    # The other half went first when the first had died a second time.
    assert sizes == [8, 4, 4, 2, 2]


def test_suspects_that_bypass_a_pause_become_fewer_with_every_death_of_a_worker():
    make_flow(codes=[ECHO], threads=8)
    ids = engine.start_many("flow", [{"n": n} for n in range(4)])
    engine.pause(Queue.objects.get())
    for id in ids:
        engine.bypass_pause(run_of(id))
    sizes = []

    for _ in range(4):
        _, held = take(8)
        sizes.append(len(held))
        die()

    # Of those that bypass a pause, any may come first.
    assert sizes[:2] == [4, 2]
    assert min(sizes) == 1


def test_nothing_is_taken_beside_suspects():
    make_flow(codes=[ECHO], threads=4)
    engine.start("flow", {})
    take(4)
    die()
    lease, [suspect] = take(4)
    engine.start("flow", {})

    assert store().claim(lease, lambda plan, threads: threads, 1) == []

    assert store().commit(
        lease, [passed(suspect)], in_commit, lambda plan, threads: threads, claim=True
    )
    assert not lease.suspects


@given(
    messages=st.integers(1, 20),
    killer=st.integers(0, 19),
    threads=st.sampled_from([1, 2, 8, 50]),
    most=st.integers(1, 4),
)
@settings(max_examples=examples(8))
def test_a_message_that_kills_workers_is_found_and_none_beside_it_is_given_up(
    messages, killer, threads, most
):
    with transaction.atomic():
        name = f"flow{uuid4().hex[:8]}"
        make_flow(name, codes=[ECHO], threads=threads, max_deliveries=most)
        ids = engine.start_many(name, [{"n": n} for n in range(messages)])
        killer_id, deaths = str(ids[killer % messages]), 0
        exhausted: list[str] = []
        while not exhausted:
            lease = open_lease(f"{name}-0", threads=threads)
            held = store().claim(lease, lambda plan, threads: threads)
            assert held
            exhausted = [h.correlation_id for h in held if h.deliveries > most]
            if killer_id in {h.correlation_id for h in held}:
                deaths += 1
                die()
            else:
                store().commit(
                    lease, [passed(h) for h in held], in_commit, lambda p, t: t, claim=False
                )

        assert exhausted == [killer_id]
        assert deaths <= 2 * (messages.bit_length() + most)
        transaction.set_rollback(True)


def test_neighbours_of_a_message_that_kills_its_worker_are_neither_counted_nor_dead_lettered():
    make_flow(codes=[ECHO], threads=1, max_deliveries=2)
    # One after the other: PostgreSQL takes those of the same moment in any order.
    ids = [engine.start("flow", {"n": n}).correlation_id for n in range(5)]
    deaths = 0
    while not DeadLetter.objects.exists():
        lease = open_lease("flow-0")
        held = store().claim(lease, lambda plan, threads: 5)
        if ids[3] in {UUID(h.id) for h in held}:
            # The message kills every worker that holds it.
            deaths += 1
            store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))
        elif held:
            store().commit(
                lease, [passed(h) for h in held], in_commit, lambda plan, threads: 5, claim=False
            )
        assert deaths < 6
        if deaths == 4:
            work("flow-0")

    assert DeadLetter.objects.get().run_id == ids[3]
    assert DeadLetter.objects.get().deliveries == 2
    # Among five, among two, and alone for both of its deliveries.
    assert deaths == 4
    others = Run.objects.exclude(pk=ids[3])
    assert set(others.values_list("status", flat=True)) == {Run.Status.COMPLETED}
    assert set(StepRun.objects.exclude(run=ids[3]).values_list("delivery", flat=True)) == {1}
