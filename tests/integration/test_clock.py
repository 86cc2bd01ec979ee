"""The machine's clock is set while the engine works."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from flows import engine
from flows.alerts.following import is_due, take_turn
from flows.models import (
    Alert,
    AlertNotice,
    AlertTarget,
    AlertTargetState,
    Consumer,
    IdempotencyKey,
    LiveCluster,
    Message,
    Queue,
    QueueState,
    Reprocessing,
    Run,
    WebhookDelivery,
)
from flows.store import clock as clocks
from flows.store import store
from flows.store.clock import SteadyClock
from flows.store.jump import mend
from flows.store.rate_limit import RateLimit, starts_of
from flows.worker import cluster
from flows.worker.redelivery import ACCEPTED, failed, in_commit
from flows.worker.results import ages, ended_now
from tests.builders import make_flow, open_lease, run_of, work_until_idle
from tests.databases import is_postgresql
from tests.side_by_side import shared_database

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = timedelta(days=30)
on_sqlite = pytest.mark.skipif(is_postgresql(), reason="PostgreSQL has a clock of its own")


class Clock:
    """The machine's clock, to be set by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> float:
        return time.time() + self.ahead.total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    steady = SteadyClock(None, clock)
    monkeypatch.setattr(clocks, "_clock_of", lambda path: steady)
    steady.epoch()
    return clock


@on_sqlite
@pytest.mark.parametrize("ahead", [MONTH, -MONTH])
def test_messages_do_not_wait_for_a_clock_that_was_set_for_a_moment(clock: Clock, ahead: timedelta):
    flow = make_flow()
    before = engine.start(flow.name, {})
    clock.ahead = ahead
    during = engine.start(flow.name, {})
    clock.ahead = timedelta(0)
    after = engine.start(flow.name, {})

    work_until_idle(flow)

    ids = [started.correlation_id for started in (before, during, after)]
    assert {run_of(id).status for id in ids} == {Run.Status.COMPLETED}


@on_sqlite
def test_a_failed_message_that_is_stored_meanwhile_waits_for_its_back_off_alone(clock: Clock):
    flow = make_flow(codes=["def run(message, context):\n    raise Retry(after=0.2)\n"])
    engine.start(flow.name, {})
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: 1)

    clock.ahead = MONTH
    done = ended_now(held, replace(failed("no luck"), delay=timedelta(seconds=30)))
    store().commit(lease, [done], in_commit, lambda p, n: 1, claim=False)
    clock.ahead = timedelta(0)

    assert Message.objects.get().available_at < datetime.now(UTC) + timedelta(seconds=60)


@on_sqlite
def test_idempotency_keys_are_not_forgotten_by_a_clock_that_was_set_for_a_moment(clock: Clock):
    flow = make_flow()
    started = engine.start(flow.name, {}, idempotency_key="order-1")

    clock.ahead = MONTH
    during = engine.start(flow.name, {}, idempotency_key="order-1")
    clock.ahead = timedelta(0)
    after = engine.start(flow.name, {}, idempotency_key="order-1")

    assert started.correlation_id == during.correlation_id == after.correlation_id


@on_sqlite
def test_a_message_does_not_expire_by_a_clock_that_was_set_for_a_moment(clock: Clock):
    make_flow()
    engine.start("flow", {})
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: 1)

    clock.ahead = MONTH

    assert max(ages([held])) < timedelta(minutes=1)


@on_sqlite
def test_a_rate_goes_on_when_the_clock_was_set_while_scripts_started(clock: Clock):
    flow = make_flow(codes=["def run(message, context):\n    return message\n"])
    Queue.objects.update(rate_count=5, rate_period=timedelta(seconds=60))
    engine.start(flow.name, {})
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: 1)
    done = ended_now(held, ACCEPTED)
    done.output = "{}"
    done.started_at = time.time() + MONTH.total_seconds()

    store().commit(lease, [done], in_commit, lambda p, n: 1, claim=False)

    state = QueueState.objects.get(queue__name="flow-0")
    rate = RateLimit.read(5, timedelta(seconds=60), state.recent_starts)
    now = store().database.now().timestamp()
    assert rate.allowance(now) == 4
    assert rate.allowance(now + 70) == 5


def test_what_was_stored_by_a_clock_that_was_ahead_is_mended_when_it_is_put_right():
    flow = make_flow()
    now = store().database.now()
    was = now + MONTH
    moments = {"ready": was - timedelta(seconds=5), "again": was + timedelta(seconds=30)}
    wanted = now + timedelta(days=90)
    put_off = engine.start(flow.name, {}, start_at=wanted).correlation_id
    ids = {name: engine.start(flow.name, {}).correlation_id for name in moments}
    for name, at in moments.items():
        Message.objects.filter(pk=ids[name]).update(available_at=at, deliveries=name == "again")
    lease = open_lease("flow-0")
    Consumer.objects.update(heartbeat_at=was)
    QueueState.objects.update(slow_until=was + timedelta(seconds=9))
    engine.start(flow.name, {}, idempotency_key="key")
    IdempotencyKey.objects.update(created_at=was)

    mend(was, now)

    found = {message.pk: message.available_at for message in Message.objects.all()}
    second = timedelta(milliseconds=1)
    assert abs(found[put_off] - wanted) < second
    assert found[ids["ready"]] == now - timedelta(seconds=5)
    assert found[ids["again"]] == now + timedelta(seconds=30)
    assert Consumer.objects.get(pk=lease.consumer_id).heartbeat_at == now
    assert {*QueueState.objects.values_list("slow_until", flat=True)} == {
        now + timedelta(seconds=9)
    }
    assert IdempotencyKey.objects.get().created_at == now


def test_webhooks_do_not_wait_for_a_clock_that_was_ahead_and_clusters_that_ended_are_gone():
    flow = make_flow(codes=["def run(message, context):\n    return message\n"])
    engine.start(flow.name, {}, callback_url="https://shop.example.org/hook")
    work_until_idle(flow)
    now = store().database.now()
    was = now + MONTH
    WebhookDelivery.objects.update(next_attempt_at=was + timedelta(seconds=30))
    LiveCluster("here:1", "", True, 2, was).tell()

    mend(was, now)

    assert WebhookDelivery.objects.get().next_attempt_at == now + timedelta(seconds=30)
    assert not LiveCluster.objects.alive(now + timedelta(seconds=20))


def test_alerts_and_reprocessings_do_not_wait_for_a_clock_that_was_ahead():
    now = store().database.now()
    was, second = now + MONTH, timedelta(seconds=1)
    target = AlertTarget(name="team")
    target.set_url("json://team.example.org")
    target.save()
    alert = Alert.objects.create(rule="queue-full", level="warning", since=was, seen_at=was)
    AlertNotice.objects.create(target=target, alert=alert, level="warning", told_at=was - second)
    AlertTargetState.objects.update(sent_at=was - second, taken_until=was + second)
    assert take_turn(was - second)
    rate = RateLimit(3, 60.0, {})
    rate.add((was - second).timestamp(), 3)
    moment = {"created_at": was, "due_at": was, "last_id": 0}
    made = Reprocessing.objects.create(**moment, rate_per_second=0.05, recent_starts=rate.write())

    mend(was, now)

    state = AlertTargetState.objects.get()
    assert state.taken_until == now + second
    assert state.sent_at == AlertNotice.objects.get().told_at == now
    assert not is_due(now + second)
    assert is_due(now + timedelta(minutes=2))
    made.refresh_from_db()
    moved = RateLimit(3, 60.0, starts_of(made.recent_starts))
    assert moved.allowance(now.timestamp() + 61) == 3


def test_starts_that_a_rate_counts_move_with_the_clock():
    make_flow()
    now = store().database.now()
    rate = RateLimit(3, 60.0, {})
    rate.add((now + MONTH).timestamp(), 2)
    QueueState.objects.filter(queue__name="flow-0").update(recent_starts=rate.write())

    mend(now + MONTH, now)

    state = QueueState.objects.get(queue__name="flow-0")
    moved = RateLimit.read(3, timedelta(seconds=60), state.recent_starts)
    assert moved.allowance(now.timestamp()) == 1
    assert moved.allowance(now.timestamp() + 61) == 3


@on_sqlite
def test_a_clock_is_not_followed_until_what_is_stored_can_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    began, passed, ahead = time.time(), [0.0], [0.0]
    path, wall = tmp_path / "clock", lambda: began + passed[0] + ahead[0]
    steady = SteadyClock(path, wall, lambda: passed[0])
    monkeypatch.setattr(clocks, "_clock_of", lambda path: steady)
    shared = tmp_path / "shared.sqlite3"
    with (
        shared_database(tmp_path),
        closing(sqlite3.connect(shared, isolation_level=None)) as other,
    ):
        make_flow()
        open_lease("flow-0")
        store().settle_clock()
        ahead[0] = MONTH.total_seconds()
        for _ in range(3):
            store().settle_clock()
            passed[0] += 250

        connection.cursor().execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError):
            store().settle_clock()
        other.execute("ROLLBACK")
        store().settle_clock()

        silence = store().database.now() - Consumer.objects.get().heartbeat_at
        assert store().database.now().timestamp() == pytest.approx(wall())
        assert abs(silence) < timedelta(seconds=1)


def test_schedules_are_left_alone_while_the_clock_has_jumped(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    called: list[object] = []
    monkeypatch.setattr(cluster, "scheduler", lambda broker: called.append(broker))

    clock.ahead = MONTH
    cluster.schedule_by_a_steady_clock("during")
    clock.ahead = timedelta(0)
    cluster.schedule_by_a_steady_clock("after")

    assert called == ["after"]
