"""The connection is lost during the commit of a start: before it has happened, or after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Thread
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from psycopg.pq import TransactionStatus

from flows import engine
from flows.errors import CommitInDoubt, QueueFull
from flows.models import IdempotencyKey, Message, Queue, QueueState, Run
from flows.plan import FlowPlan, flow_plan
from flows.starts import starting
from flows.starts.new_run import new_run
from flows.store import NewRun, store
from tests.builders import counters, make_flow
from tests.side_by_side import side_by_side
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

Lose = Callable[[bool], None]


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Lose the connection in the commit of the next start; say whether the commit happens."""
    database: Any = connections["default"]
    start = store().start

    def lose_next(happens: bool) -> None:
        def lost() -> None:
            del database._commit
            (database._commit if happens else database._rollback)()
            raise CommitInDoubt("lost")

        def lost_on_its_way(*statement: Any) -> None:
            del database.commit_one
            if happens:
                database.commit_one(*statement)
            raise CommitInDoubt("lost")

        def losing(runs: Sequence[NewRun]) -> None:
            monkeypatch.setattr(store(), "start", start)
            if database.vendor == "postgresql" and database.get_autocommit():
                database.commit_one = lost_on_its_way
            else:
                database._commit = lost
            start(runs)

        monkeypatch.setattr(store(), "start", losing)

    return lose_next


def planned() -> FlowPlan:
    """Make a flow; looking up its plan would be a commit of its own."""
    return flow_plan(make_flow().name)


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("key", [None, "order-1"])
def test_a_start_is_stored_once_whether_or_not_the_commit_happened(
    lose: Lose, happens: bool, key: str | None
):
    plan = planned()

    lose(happens)
    started = engine.start(plan, {}, idempotency_key=key)

    assert [run.pk for run in Run.objects.all()] == [started.correlation_id]
    assert not started.repeated
    assert Message.objects.get().pk == started.correlation_id
    assert counters("flow-0") == (1, 0)
    assert IdempotencyKey.objects.count() == (1 if key else 0)


@pytest.mark.parametrize("happens", [True, False])
def test_many_are_stored_once_whether_or_not_the_commit_happened(lose: Lose, happens: bool):
    plan = planned()

    lose(happens)
    ids = engine.start_many(plan, [{}] * 3)

    assert {run.pk for run in Run.objects.all()} == set(ids)
    assert counters("flow-0") == (3, 0)


@pytest.mark.parametrize("key", [None, "order-1"])
def test_the_doubt_stays_where_the_database_does_not_come_back(
    lose: Lose, monkeypatch: pytest.MonkeyPatch, key: str | None
):
    plan = planned()
    lose(False)

    def is_away(doubt: CommitInDoubt) -> AbstractContextManager[None]:
        monkeypatch.setattr(store(), "start", away)
        return settling(doubt)

    def away(runs: Sequence[NewRun]) -> None:
        raise OperationalError("away")

    settling = starting.settling
    monkeypatch.setattr(starting, "settling", is_away)
    with pytest.raises(CommitInDoubt):
        engine.start(plan, {}, idempotency_key=key)


def test_the_api_does_not_say_that_nothing_was_stored(
    lose: Lose, monkeypatch: pytest.MonkeyPatch, client, admin_user
):
    flow = make_flow()

    def in_doubt(*args: object, **options: object) -> None:
        raise CommitInDoubt("lost")

    monkeypatch.setattr(engine, "start", in_doubt)
    client.force_login(admin_user)
    path = f"/async/api/start?flowName={flow.name}"
    answer = client.post(path, "{}", content_type="application/json")

    assert answer.status_code == 504
    assert answer.json()["type"].endswith("/outcome-unknown")
    assert answer["Retry-After"]


@side_by_side
def test_a_start_whose_session_ends_while_it_commits_is_stored_once():
    plan = planned()
    started: list[Any] = []
    with transaction.atomic():
        # The commit counts the start in its queue.
        list(QueueState.objects.select_for_update())
        thread = Thread(target=lambda: started.append(started_apart(plan)))
        thread.start()
        [waiting] = wait_for(sessions_that_wait_for_a_lock, 60, "the commit of the start")
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", waiting)
    thread.join(60)

    assert [run.pk for run in Run.objects.all()] == started
    assert counters("flow-0") == (1, 0)


def started_apart(plan: FlowPlan) -> Any:
    try:
        return engine.start(plan, {}).correlation_id
    finally:
        connections.close_all()


def sessions_that_wait_for_a_lock() -> list[Any]:
    return store().database.query("SELECT pid FROM pg_locks WHERE NOT granted LIMIT 1")


@side_by_side
@pytest.mark.parametrize("error", [IntegrityError, QueueFull])
def test_a_start_that_is_refused_leaves_its_session_as_it_was(error: type[Exception]):
    plan = planned()
    run = new_run(plan, {}, None, 4, None)
    if error is IntegrityError:
        store().start([run])
    else:
        Queue.objects.update(size=1)
        engine.start(plan, {})

    with pytest.raises(error):
        store().start([run], look_for_room=False)

    session = connections["default"].connection
    assert session.info.transaction_status == TransactionStatus.IDLE
    assert Run.objects.count() == 1
    Queue.objects.update(size=100)
    engine.start(plan, {})
    assert counters("flow-0") == (2, 0)


@side_by_side
def test_a_start_is_stored_once_though_its_plan_is_gone():
    plan = planned()
    engine.start(plan, {})
    store().database.change("DEALLOCATE ALL")

    engine.start(plan, {})

    assert Run.objects.count() == 2
    assert counters("flow-0") == (2, 0)
