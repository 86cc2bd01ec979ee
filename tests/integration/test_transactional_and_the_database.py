"""What callables in the transaction cancel is cancelled once; what the database keeps refusing ends
as their failure.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from flows import engine
from flows.models import DeadLetter, Message, Run, StepRun
from flows.monitoring import conservation
from flows.processes import this_machine
from flows.store import store
from flows.worker import session as session_module
from flows.worker import transactional
from flows.worker.isolation import LAST_RESORT_DELAY
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from tests import callables
from tests.builders import ECHO, make_callable, make_flow, run_of, work, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

CANCELLED, COMPLETED = Run.Status.CANCELLED, Run.Status.COMPLETED


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]


def make_flow_of(name: str, codes: list[str | None], **queue):
    """Make a flow whose steps without a code run this function in the transaction."""
    path = f"tests.callables.{name}"
    flow = make_flow(codes=[code or path for code in codes], **queue)
    make_callable(path, in_transaction=True)
    return flow


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]


def statuses(ids) -> list[str]:
    return [run_of(id).status for id in ids]


@pytest.mark.parametrize("codes", [[None], [None, ECHO]])
def test_a_callable_that_cancels_its_own_run_leaves_totals_that_are_right(codes):
    flow = make_flow_of("cancel_another", codes)
    ids = engine.start_many("flow", [{"cancel": ["own"]}, {}, {"cancel": ["own"]}])

    work_until_idle(flow)

    assert statuses(ids) == [CANCELLED, COMPLETED, CANCELLED]
    assert not Message.objects.exists()
    assert imbalances() == []


@pytest.mark.parametrize("raises", [False, True])
def test_runs_of_the_same_batch_that_a_callable_cancels_are_cancelled_if_its_writes_stay(
    monkeypatch, raises
):
    monkeypatch.setattr(Session, "_batch_size", lambda session, plan, threads: 10)
    monkeypatch.setattr(transactional, "TRANSACTION_SECONDS", 60)
    flow = make_flow_of("cancel_another", [None, ECHO], max_deliveries=1)
    first, last = engine.start_many("flow", [{}, {}])
    payload = {"cancel": [str(first), str(last)], "raise": raises}
    canceller = engine.start("flow", payload).correlation_id

    work_until_idle(flow)

    assert statuses([first, last]) == [COMPLETED if raises else CANCELLED] * 2
    assert run_of(canceller).status == (Run.Status.FAILED if raises else COMPLETED)
    assert imbalances() == []


def test_a_run_that_waits_and_is_cancelled_by_a_callable_is_not_run():
    flow = make_flow_of("cancel_another", [None, ECHO])
    make_flow("other")
    waiting = engine.start("other", {}).correlation_id
    canceller = engine.start("flow", {"cancel": [str(waiting)]}).correlation_id

    work_until_idle(flow)

    assert statuses([waiting, canceller]) == [CANCELLED, COMPLETED]
    assert not StepRun.objects.filter(run=waiting).exists()
    assert imbalances() == []


# --- commits that are refused for ever ---------------------------------------------------------

# A deferred trigger of a project's own, that says what usually passes.
REFUSING = """
    CREATE FUNCTION refuse_cursed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.object_repr = 'cursed' THEN
            RAISE EXCEPTION 'the month is closed' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON django_admin_log
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_cursed();
"""


def run_sql(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)


@contextmanager
def cursed_commits(monkeypatch) -> Iterator[None]:
    """Let the database refuse the commit of what notes that it is cursed, and only that."""
    if connection.vendor == "postgresql":
        run_sql(REFUSING)
        try:
            yield
        finally:
            run_sql("DROP TRIGGER refusing ON django_admin_log; DROP FUNCTION refuse_cursed")
        return
    cursed: list[bool] = []

    def authorize(action, what, *_):
        if action == sqlite3.SQLITE_TRANSACTION and what == "ROLLBACK":
            cursed.clear()
        refused = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT" and cursed
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    monkeypatch.setattr(callables, "when_cursed", lambda: cursed.append(True))
    connection.ensure_connection()
    connection.connection.set_authorizer(authorize)
    try:
        yield
    finally:
        connection.connection.set_authorizer(None)


def test_a_commit_that_is_refused_for_ever_is_a_failure_of_the_one_that_causes_it(monkeypatch):
    make_flow_of("note_that_it_is_cursed", [None, ECHO], max_deliveries=1)
    first, cursed, last = engine.start_many("flow", [{}, {"cursed": True}, {}])

    with cursed_commits(monkeypatch):
        for _ in range(4):
            work("flow-0")
    work("flow-1")

    assert statuses([first, last]) == [COMPLETED] * 2
    assert run_of(cursed).status == Run.Status.FAILED
    failed = StepRun.objects.get(run=cursed)
    assert failed.outcome == StepRun.Outcome.FAILED
    assert "OperationalError" in failed.error or "DatabaseError" in failed.error
    assert DeadLetter.objects.get().reason == DeadLetter.Reason.EXHAUSTED
    assert imbalances() == []


def test_a_worker_that_is_to_stop_does_not_wait_for_a_commit_that_is_refused(monkeypatch, settings):
    make_flow_of("note_that_it_is_cursed", [None])
    monkeypatch.setattr(session_module, "MOST_REFUSALS", 10**9)
    settings.ASYNCENGINE_GRACE_SECONDS = 0.2
    refused = []

    def stop_after_some(error, trouble):
        refused.append(error)
        if len(refused) == 3:
            monkeypatch.setattr(this_worker.draining, "is_set", lambda: True)

    real = Session._try_again_later
    monkeypatch.setattr(
        Session,
        "_try_again_later",
        lambda session, *args: (stop_after_some(*args), real(session, *args))[1],
    )
    engine.start("flow", {"cursed": True})

    with cursed_commits(monkeypatch):
        work("flow-0")

    assert len(refused) >= 3
    assert Message.objects.get().consumer_id is not None
    store().reap(this_machine(), lambda pid: False, *[LAST_RESORT_DELAY] * 2)
    assert Message.objects.get().queue_id is not None
    assert imbalances() == []
