"""Delayed starts are counted apart from the messages of a queue until a worker takes them."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flows import engine
from flows.disposition import Decision, Disposition
from flows.errors import DelayTooLong, QueueFull
from flows.models import Message, Queue, QueueState, Run
from flows.monitoring.conservation import check
from flows.monitoring.wait_reason import why_run
from flows.store import DeliveryResult, HeldMessage, store
from flows.worker.redelivery import ACCEPTED, RELEASED, in_commit
from flows.worker.results import released
from tests.builders import ECHO, make_flow, open_lease, run_of, work_until_idle
from tests.examples import examples

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def start(delayed: bool = False, name: str = "flow") -> Run:
    at = timezone.now() + HOUR if delayed else None
    return run_of(engine.start(name, {}, start_at=at).correlation_id)


def let_the_hour_pass() -> None:
    now = store().database.now()
    Message.objects.filter(available_at__gt=now).update(available_at=now)


def numbers() -> tuple[int, int]:
    return QueueState.objects.values_list("depth", "delayed").get(queue__name="flow-0")


def assert_balanced() -> None:
    assert [fault for checked in check() for fault in checked.faults()] == []


@pytest.mark.parametrize(
    "start_at",
    [
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        timezone.now() + timedelta(days=401),
    ],
)
def test_a_start_too_far_in_the_future_is_refused(start_at):
    make_flow()

    for call in (
        lambda: engine.start("flow", {}, start_at=start_at),
        lambda: engine.start("flow", {}, start_at=start_at, idempotency_key="key"),
        lambda: engine.start_many("flow", [{}], start_at=start_at),
    ):
        with pytest.raises(DelayTooLong, match="400 days"):
            call()
    assert not Run.objects.exists()


def test_the_longest_delay_is_a_setting(settings):
    make_flow()
    settings.ASYNCENGINE_MAX_DELAY_DAYS = 500
    engine.start("flow", {}, start_at=timezone.now() + timedelta(days=450))

    settings.ASYNCENGINE_MAX_DELAY_DAYS = 0
    with pytest.raises(DelayTooLong):
        engine.start("flow", {}, start_at=timezone.now() + HOUR)
    engine.start("flow", {}, start_at=timezone.now() - HOUR)


def test_delayed_starts_take_no_room_from_others():
    flow = make_flow(codes=[ECHO], size=3)
    for _ in range(3):
        start(delayed=True)

    runs = [start() for _ in range(3)]

    assert numbers() == (3, 3)
    with pytest.raises(QueueFull):
        start()
    work_until_idle(flow)
    assert {run_of(run.pk).status for run in runs} == {Run.Status.COMPLETED}
    assert numbers() == (0, 3)
    assert_balanced()


def test_there_are_at_most_as_many_delayed_starts_as_the_size_of_the_queue():
    make_flow(size=3)
    for _ in range(3):
        start(delayed=True)

    with pytest.raises(QueueFull, match="delayed starts") as refused:
        start(delayed=True)

    assert refused.value.retry_after > 1
    assert numbers() == (0, 3)
    assert_balanced()


def test_many_delayed_starts_that_are_due_at_once_are_all_worked_on_within_the_bound():
    flow = make_flow(codes=[ECHO], size=3, threads=10)
    runs = [start(delayed=True) for _ in range(3)]
    runs += [start() for _ in range(2)]
    let_the_hour_pass()
    lease = open_lease("flow-0", threads=10)

    # The two that are in the queue leave room for one.
    held = store().claim(lease, lambda plan, threads: threads)

    assert numbers()[0] <= 3
    assert len(held) <= 3
    store().close(lease)
    work_until_idle(flow)
    assert {run_of(run.pk).status for run in runs} == {Run.Status.COMPLETED}
    assert numbers() == (0, 0)
    assert_balanced()


def test_a_full_queue_goes_on_with_its_messages_and_takes_the_due_ones_as_room_comes():
    flow = make_flow(codes=[ECHO], size=2, threads=1)
    late = [start(delayed=True) for _ in range(2)]
    let_the_hour_pass()
    first = [start() for _ in range(2)]
    assert why_run(late[0]) == "Its time has come, and its queue is full, 2 of 2."

    work_until_idle(flow)

    finished = Run.objects.order_by("finished_at").values_list("pk", flat=True)
    assert {*finished} == {run.pk for run in (*late, *first)}
    assert_balanced()


@pytest.mark.parametrize("end", ["cancelled", "cancelled when taken", "died", "released"])
def test_a_delayed_start_is_counted_once_wherever_it_is(end):
    make_flow(codes=[ECHO], size=3)
    run = start(delayed=True)
    if end != "cancelled":
        let_the_hour_pass()
        lease = open_lease("flow-0")
        [held] = store().claim(lease, lambda plan, threads: threads)
        assert numbers() == (1, 0)
        assert_balanced()

    if end == "died":
        store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))
    elif end == "released":
        store().commit(
            lease, [released(held)], in_commit, lambda plan, threads: threads, claim=False
        )
    else:
        engine.cancel(run)

    assert numbers() == ((1, 0) if end != "cancelled" else (0, 0))
    assert_balanced()


def test_a_delayed_start_of_a_higher_priority_takes_nothing_before_its_time():
    flow = make_flow(codes=[ECHO])
    engine.start("flow", {}, priority=9, start_at=timezone.now() + HOUR)
    low = engine.start("flow", {}, priority=0).correlation_id

    work_until_idle(flow)

    assert run_of(low).status == Run.Status.COMPLETED
    assert numbers() == (0, 1)


def test_a_due_start_that_bypasses_a_pause_leaves_the_queue_its_bound():
    flow = make_flow(codes=[ECHO], size=1)
    run = start(delayed=True)
    Queue.objects.update(paused=True)
    let_the_hour_pass()
    engine.bypass_pause(run)

    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    assert_balanced()


# What happens is drawn from the seed, which shrinks to nothing simpler.
@settings(
    max_examples=examples(5),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(size=st.integers(1, 4), steps=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_bounds_and_balance_hold_whatever_happens_to_delayed_starts(size, steps, seed):
    random, name = Random(seed), f"flow{uuid4().hex[:8]}"
    with transaction.atomic():
        make_flow(name, codes=[ECHO] * steps, size=size, threads=3)
        for _ in range(25):
            happen(random, name)
            for state in QueueState.objects.select_related("queue"):
                assert state.depth + state.reserved <= state.queue.size
                assert state.delayed <= state.queue.size
            assert_balanced()
        transaction.set_rollback(True)


def happen(random: Random, name: str) -> None:
    happens = random.choice(["start", "delay", "delay", "pass", "work", "work", "work", "cancel"])
    if happens in {"start", "delay"}:
        room = QueueState.objects.get(queue__name=f"{name}-0")
        try:
            start(happens == "delay", name)
        except QueueFull:
            taken = room.delayed if happens == "delay" else room.depth + room.reserved
            assert taken == room.queue.size
    elif happens == "pass":
        let_the_hour_pass()
    elif happens == "cancel":
        if message := random.choice([None, *Message.objects.all()]):
            engine.cancel(run_of(message.run_id))
    else:
        work_a_little(random, random.choice(sorted(Queue.objects.values_list("name", flat=True))))


def work_a_little(random: Random, queue: str) -> None:
    lease = open_lease(queue, threads=3)
    held = store().claim(lease, lambda plan, threads: random.randint(1, 4))
    if held and random.random() < 0.2:
        store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))
        return
    while held:
        carries = random.random() < 0.5
        done = [ended(random, each) for each in held]
        held = store().commit(lease, done, in_commit, lambda p, n: n, claim=carries)
    if not lease.closed:
        store().close(lease)


def ended(random: Random, held: HeldMessage) -> DeliveryResult:
    retry = Decision(Disposition.RETRY)
    decision, now = random.choice([ACCEPTED, ACCEPTED, RELEASED, retry]), time.time()
    return DeliveryResult(held, replace(decision, delay=HOUR), now, now, output=held.body)
