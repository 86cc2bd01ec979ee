"""What a callable leaves behind in its thread harms no message that comes after."""

import json
from datetime import timedelta
from inspect import getclosurevars

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from flows import engine
from flows.models import Queue, Run, StepRun
from flows.store import store
from flows.worker.worker import consume
from tests.builders import make_callable, make_flow, run_of, work
from tests.callables import leftovers, noted

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's own")
PATH = "tests.callables.leave_state"
SETTINGS = (
    "search path",
    "setting by function",
    "local setting",
    "timeout",
    "time zone",
    "role",
    "advisory lock",
    "prepared",
    "listen",
)
OPEN = ("begin", "block")


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]


@pytest.fixture
def aside(tmp_path, monkeypatch):
    """Have a second database, on SQLite whatever the first; Django's tests allow but the first."""
    allowing_all = getclosurevars(BaseDatabaseWrapper.ensure_connection).nonlocals
    monkeypatch.setattr(
        BaseDatabaseWrapper, "ensure_connection", allowing_all["real_ensure_connection"]
    )
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "aside.sqlite3")}
    defaults = dict(connections.databases["default"], OPTIONS={}, TEST={})
    connections.databases["aside"] = defaults | file
    yield "aside"
    for each in connections.all(initialized_only=True):
        if each.alias == "aside":
            each.close()
            del connections["aside"]
    del connections.databases["aside"]


def make_leaving_flow(in_transaction):
    # What fails is not delivered again while a test looks.
    make_flow(codes=[PATH], threads=1, backoff_initial=timedelta(seconds=60))
    make_callable(PATH, in_transaction=in_transaction)


def start_and_work(payloads):
    """Work through the payloads one after the other, as one thread does."""
    ids = engine.start_many("flow", payloads)
    work("flow-0", threads=1)
    return ids


def found(id):
    return json.loads(run_of(id).result)["payload"]["found"]


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize(
    "leave",
    [
        "context",
        "wrapper",
        "temporary table",
        *(pytest.param(leave, marks=on_postgresql) for leave in SETTINGS),
    ],
)
def test_state_that_it_changes_ends_with_its_message(leave, in_transaction):
    if connection.vendor == "sqlite" and in_transaction and leave == "temporary table":
        pytest.skip("SQLite in memory is not closed")
    make_leaving_flow(in_transaction)

    first, _, last = start_and_work([{}, {"leave": leave}, {}])

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 3
    assert found(last) == found(first)


@on_postgresql
@pytest.mark.parametrize("leave", ["autocommit off", "raw autocommit off"])
def test_autocommit_is_on_again_for_the_next_message(leave):
    make_leaving_flow(in_transaction=False)

    first, _, last = start_and_work([{}, {"leave": leave}, {}])

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 3
    assert found(last) == found(first)


@on_postgresql
def test_work_left_uncommitted_is_the_error_of_its_message_and_the_next_ones_are_committed():
    make_leaving_flow(in_transaction=False)

    _, second, _ = start_and_work(
        [{"leave": "write"}, {"leave": "begin and write"}, {"leave": "write"}]
    )

    failed = StepRun.objects.get(outcome="FAILED")
    assert failed.run_id == second
    assert "left a transaction open on 'default'" in failed.error
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 2
    assert noted() == ["left", "left"]


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("leave", OPEN)
def test_a_transaction_left_open_on_another_database_is_an_error_too(aside, leave, in_transaction):
    make_leaving_flow(in_transaction)

    first, second, last = start_and_work([{}, {"leave": leave, "alias": aside}, {}])

    failed = StepRun.objects.get(outcome="FAILED")
    assert failed.run_id == second
    assert "left a transaction open on 'aside'" in failed.error
    assert found(last) == found(first)


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        ("block", "an atomic block has no end"),
        ("rollback", "what it wrote is not committed"),
        ("commit", "COMMIT would end the transaction"),
    ],
)
def test_the_hand_over_stands_whatever_it_does_with_the_transaction(leave, said):
    make_leaving_flow(in_transaction=True)

    first, second, last = start_and_work([{}, {"leave": leave}, {}])

    failed = StepRun.objects.get(outcome="FAILED")
    assert failed.run_id == second
    assert said in failed.error
    assert found(last) == found(first)
    assert connection.get_autocommit()
    assert not connection.savepoint_ids


def test_a_hook_leaves_nothing_behind():
    make_flow(codes=["tests.callables.record"], threads=1)
    make_callable("tests.callables.record", in_transaction=True)

    start_and_work([{"on_commit": "leave"}, {}])

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 2
    assert connection.get_autocommit()
    assert len(noted()) == 2


@on_postgresql
def test_a_transaction_that_a_task_left_open_keeps_no_worker_from_working():
    make_leaving_flow(in_transaction=False)
    id = engine.start("flow", {}).correlation_id
    left = store().open_consumer(Queue.objects.get().pk, 1, "cluster", "machine")
    leftovers["begin"](connection)

    consume(left, "cluster")

    assert run_of(id).status == Run.Status.COMPLETED
    assert connection.get_autocommit()
