"""A start in a transaction makes no other wait for its end, and counts exactly."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from flows import engine, public
from flows.errors import QueueFull
from flows.models import DeadLetter, Flow, Message, QueueState, Run
from flows.models.message import DEFAULT_PRIORITY
from flows.monitoring import conservation
from flows.plan import flow_plan
from flows.starts.idempotency import key_of, start_once
from flows.starts.new_run import new_run
from flows.store import store
from tests.builders import (
    ECHO,
    counters,
    hosts_of_this_thread,
    make_callable,
    make_flow,
    run_of,
    work_until_idle,
)
from tests.side_by_side import at_the_same_time, side_by_side

REJECT = "def run(message, context):\n    raise Reject('no')\n"
# So long a transaction waits for the other, unless that waits for a lock.
PATIENCE = 2.0

pytestmark = pytest.mark.django_db(transaction=True)


class RolledBack(Exception):
    """Takes a transaction back."""


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]


@side_by_side
def test_a_start_in_an_open_transaction_holds_up_no_start_and_no_worker():
    flow = make_flow()
    before = engine.start("flow", {}).correlation_id

    with transaction.atomic():
        within = engine.start("flow", {}).correlation_id
        raised = at_the_same_time(lambda: engine.start("flow", {}))
        raised += at_the_same_time(lambda: work_until_idle(flow))
        met = at_the_same_time(lambda: run_of(before).status == Run.Status.COMPLETED or 1 / 0)
        unseen = at_the_same_time(lambda: Run.objects.filter(pk=within).exists() and 1 / 0)
    work_until_idle(flow)

    assert raised == met == unseen == []
    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.COMPLETED}
    assert Run.objects.count() == 3
    assert imbalances() == []


@side_by_side
def test_transactions_that_start_two_flows_in_any_order_never_wait_crosswise():
    make_flow("a")
    make_flow("b")

    def start_both() -> None:
        for _ in range(25):
            with transaction.atomic():
                for name in random.sample(["a", "b"], 2):
                    engine.start(name, {})

    raised = at_the_same_time(*[start_both] * 8)

    assert raised == []
    assert counters("a-0") == counters("b-0") == (200, 0)
    assert imbalances() == []


@side_by_side
def test_starts_at_the_same_time_never_fill_a_queue_above_its_size():
    make_flow(size=7)

    def start_many_times() -> None:
        for _ in range(5):
            with suppress(QueueFull), transaction.atomic():
                engine.start("flow", {})
                engine.start_many("flow", [{}, {}])

    raised = at_the_same_time(*[start_many_times] * 4)

    assert raised == []
    assert counters("flow-0") == (6, 0)
    assert Message.objects.count() == Run.objects.count() == 6
    assert imbalances() == []


@side_by_side
def test_a_queue_that_others_have_filled_refuses_the_commit_and_takes_it_back():
    flow = make_flow(size=1)
    engine.start("flow", {})
    work_until_idle(flow)
    engine.pause(flow.steps.first().queue)

    def start_as_another_does() -> None:
        with transaction.atomic():
            User.objects.create(username="written with the start")
            engine.start("flow", {})
            assert at_the_same_time(lambda: engine.start("flow", {})) == []

    with pytest.raises(QueueFull) as full:
        start_as_another_does()

    # As for any queue that is paused.
    assert full.value.retry_after >= 60
    assert not User.objects.exists()
    assert Run.objects.filter(status=Run.Status.QUEUED).count() == 1
    assert counters("flow-0") == (1, 0)
    assert imbalances() == []


@side_by_side
def test_the_engine_s_limits_do_not_reach_the_transactions_around_a_start():
    make_flow()

    def limits() -> set[str]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        return {store().database.query(f"SHOW {name}")[0][0] for name in names}

    with transaction.atomic():
        engine.start("flow", {})
        around = limits()
    with store().database.transaction():
        own = limits()

    assert around == {"0"}
    assert own == {"5s", "10s"}
    assert limits() == {"0"}


@side_by_side
def test_the_engine_s_limits_hold_for_a_start_with_a_key_and_not_around_it():
    flow = make_flow()
    run = new_run(flow_plan(flow.name), {}, None, DEFAULT_PRIORITY, None)
    found: list[str] = []

    def store_new() -> None:
        found.extend(store().database.query("SHOW lock_timeout")[0])
        store().start([run])

    started = start_once(run, key_of(run, "k"), store_new)
    with transaction.atomic():
        known = start_once(run, key_of(run, "k"))
        other = new_run(flow_plan(flow.name), {}, None, DEFAULT_PRIORITY, None)
        start_once(other, key_of(other, "other"), lambda: store().start([other]))
        found.extend(store().database.query("SHOW lock_timeout")[0])

    assert found == ["5s", "0"]
    assert (started.repeated, known.repeated) == (False, True)
    assert Run.objects.count() == 2
    assert imbalances() == []


def test_a_transaction_counts_its_own_starts_when_it_asks_for_room():
    make_flow(size=3)

    with transaction.atomic():
        engine.start_many("flow", [{}, {}])
        engine.start("flow", {})
        with pytest.raises(QueueFull):
            engine.start("flow", {})

    assert counters("flow-0") == (3, 0)
    assert imbalances() == []


def test_a_start_that_is_taken_back_to_a_savepoint_is_not_counted():
    make_flow(size=2)

    with transaction.atomic():
        engine.start("flow", {})
        with suppress(RolledBack), transaction.atomic():
            engine.start("flow", {})
            raise RolledBack
        engine.start("flow", {})

    assert counters("flow-0") == (2, 0)
    assert imbalances() == []


def test_a_run_that_is_cancelled_in_the_transaction_that_starts_it_is_counted_once():
    make_flow("a")
    make_flow("b")

    with transaction.atomic():
        kept = engine.start("b", {}).correlation_id
        cancelled = engine.start("a", {}).correlation_id
        engine.cancel(run_of(cancelled))
        engine.start("a", {})

    assert run_of(cancelled).status == Run.Status.CANCELLED
    assert run_of(kept).status == Run.Status.QUEUED
    assert counters("a-0") == counters("b-0") == (1, 0)
    assert imbalances() == []


def test_delayed_starts_of_a_transaction_are_counted_apart():
    make_flow(size=2)
    later = timezone.now() + timedelta(hours=1)

    with transaction.atomic():
        engine.start_many("flow", [{}, {}], start_at=later)
        with pytest.raises(QueueFull):
            engine.start("flow", {}, start_at=later)
        cancelled = engine.start("flow", {}).correlation_id
        engine.cancel(run_of(cancelled))
        engine.start_many("flow", [{}, {}])
        with pytest.raises(QueueFull):
            engine.start("flow", {})

    assert QueueState.objects.values_list("depth", "delayed").get(queue__name="flow-0") == (2, 2)
    assert imbalances() == []


@pytest.fixture
def starting(settings):
    """Make flows whose steps start a run of the flow that the payload names."""
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]
    flows = [make_flow(name, ["tests.callables.start_another"], size=10) for name in "ab"]
    make_callable("tests.callables.start_another", in_transaction=True)
    return flows


def test_what_a_callable_starts_in_its_transaction_is_counted_with_the_commit(starting):
    for name, other in ("ab", "ba"):
        engine.start_many(name, [{"start": other}, {"start": name}, {}])

    for flow in starting * 2:
        work_until_idle(flow)

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == Run.objects.count() == 10
    assert counters("a-0") == counters("b-0") == (0, 0)
    assert imbalances() == []


@side_by_side
def test_workers_whose_callables_start_each_other_s_flows_do_not_wait_crosswise(starting):
    for name, other in ("ab", "ba"):
        engine.start_many(name, [{"start": other}] * 4)

    def work_beside(flow: Flow) -> None:
        with hosts_of_this_thread() as hosts:
            work_until_idle(flow, hosts)

    raised = at_the_same_time(*[partial(work_beside, flow) for flow in starting])
    for flow in starting:
        work_until_idle(flow)

    assert raised == []
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == Run.objects.count() == 16
    assert imbalances() == []


def taking_turns(
    first: Callable[[], object], second: Callable[[], object], met: threading.Barrier
) -> Callable[[], None]:
    """Return a transaction that does the second only after another has done its first."""

    def both() -> None:
        with transaction.atomic():
            first()
            with suppress(threading.BrokenBarrierError):
                met.wait(PATIENCE)
            second()

    return both


@side_by_side
@pytest.mark.parametrize("verb", ["cancel", "discard", "reprocess"])
def test_transactions_that_decide_about_two_runs_crosswise_end_one_of_them_whole(verb):
    """PostgreSQL takes one transaction back and lets the other go on: nothing is half done."""
    decide: Callable[[Any], object] = getattr(public, verb)
    is_of_runs = verb == "cancel"
    flows = [make_flow(name, codes=[ECHO if is_of_runs else REJECT]) for name in ("a", "b")]
    ids: list[Any] = [public.start(flow.name, {}) for flow in flows]
    if not is_of_runs:
        for flow in flows:
            work_until_idle(flow)
        ids = list(DeadLetter.objects.order_by("pk").values_list("pk", flat=True))
    one, other = (partial(decide, id) for id in ids)
    met = threading.Barrier(2)

    raised = at_the_same_time(taking_turns(one, other, met), taking_turns(other, one, met))

    assert ["deadlock detected" in str(error) for error in raised] == [True], raised
    ended = Run.objects.filter(status="CANCELLED").count()
    decided = DeadLetter.objects.exclude(reprocessed_at=None, discarded_at=None).count()
    assert (ended if is_of_runs else decided) == 2
    assert imbalances() == []


@side_by_side
def test_a_cancellation_and_an_edit_crosswise_end_one_transaction_whole():
    flow = make_flow()
    run = public.start("flow", {})
    met = threading.Barrier(2)

    def edit() -> None:
        changed = Flow.objects.get(pk=flow.pk)
        changed.description = f"{changed.description} again"
        changed.save()

    raised = at_the_same_time(
        taking_turns(partial(public.cancel, run), edit, met),
        taking_turns(edit, partial(public.cancel, run), met),
    )

    assert ["deadlock detected" in str(error) for error in raised] == [True], raised
    assert run_of(run).status == "CANCELLED"
    assert imbalances() == []
    assert counters("flow-0") == (0, 0)


@side_by_side
def test_decisions_in_one_order_never_wait_crosswise():
    names = ["a", "b", "c"]
    for name in names:
        make_flow(name)
    runs = [sorted(public.start(name, {}) for name in names) for _ in range(20)]

    def cancel_all() -> None:
        for group in runs:
            with transaction.atomic():
                for run in group:
                    public.cancel(run)

    raised = at_the_same_time(*[cancel_all] * 4)

    assert raised == []
    assert set(Run.objects.values_list("status", flat=True)) == {"CANCELLED"}
    assert imbalances() == []
