"""A commit that one message breaks: it becomes a dead letter with the cause, the others go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import ProtectedError

from flows import engine
from flows.models import BranchEnd, Consumer, DeadLetter, Message, Queue, Run, StepRun
from flows.monitoring.trace import trace
from flows.store import store
from flows.store.database import BatchStatement
from flows.worker import isolation
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker
from tests.builders import ECHO, counters, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

# What a message is told to do decides through which statements its commit leads.
DO = """
def run(message, context):
    what = message["payload"].get("do")
    context.log("here")
    if what == "reject": raise Reject("no")
    if what == "fail": raise ValueError("no")
    if what == "fan out": return [{"payload": {"n": n}} for n in range(3)]
    if what == "warn": return {"payload": {}}
    return message
"""
ALL = ["pass", "reject", "fail", "fan out", "warn"]


class Saboteur:
    """Notes the statements that touch one run; raises at one of them, once or always."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.marks: tuple[str, ...] = ()
        self.error = error
        self.statement = ""
        self.is_lasting = False
        self.seen: dict[str, None] = {}
        database = type(store().database)
        for name in ("each", "change", "query"):
            monkeypatch.setattr(database, name, self.around(getattr(database, name)))
        bulk_create = DeadLetter.objects.bulk_create

        def create(letters: Iterator[DeadLetter]) -> Any:
            listed = list(letters)
            self.look("dead letter", [str(letter.run_id) for letter in listed])
            return bulk_create(listed)

        monkeypatch.setattr(DeadLetter.objects, "bulk_create", create)

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(database: Any, statement: str | BatchStatement, params: Sequence[Any] = ()) -> Any:
            text = statement if isinstance(statement, str) else statement.statement
            self.look(text, params)
            rows = method(database, statement, params)
            self.look(f"after {text}", rows)
            return rows

        return call

    def look(self, statement: str, params: Any) -> None:
        text = repr(params)
        if not any(mark in text for mark in self.marks):
            return
        self.seen[statement] = None
        if statement == self.statement:
            self.statement = statement if self.is_lasting else ""
            raise self.error

    def aim(self, run_id: UUID, statement: str = "", is_lasting: bool = False) -> None:
        self.marks = (run_id.hex, str(run_id))
        self.statement, self.is_lasting = statement, is_lasting


def is_whole() -> bool:
    """Nothing is left that a commit half made, and the counters count what is there."""
    waiting = Message.objects.exclude(queue=None)
    return not Consumer.objects.exists() and all(
        counters(queue.name) == (waiting.filter(queue=queue).count(), 0)
        for queue in Queue.objects.all()
    )


@pytest.mark.sampled(3)
@pytest.mark.parametrize("is_lasting", [False, True])
@pytest.mark.parametrize("what", ALL)
def test_a_message_that_breaks_its_commit_at_any_statement_harms_no_other(
    what: str, is_lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = make_flow(codes=[DO, ECHO], max_deliveries=1)
    saboteur = Saboteur(monkeypatch, RecursionError("too deep"))
    saboteur.aim(engine.start("flow", {"do": what}).correlation_id)
    work_until_idle(flow)
    statements = list(saboteur.seen)

    for statement in statements:
        first, bad, last = engine.start_many("flow", [{}, {"do": what}, {}])
        saboteur.aim(bad, statement, is_lasting)

        work_until_idle(flow)

        assert {run_of(pk).status for pk in (first, last)} == {Run.Status.COMPLETED}, statement
        assert is_whole(), statement
        has_ended = run_of(bad).status in (Run.Status.COMPLETED, Run.Status.FAILED)
        assert has_ended != Message.objects.filter(run=bad).exists(), statement
        saboteur.aim(UUID(int=0))
        Message.objects.all().update(available_at=store().database.now())
        work_until_idle(flow)
    assert len(statements) > 3
    assert not Message.objects.exists()


def test_the_traceback_is_logged_once_and_the_cause_is_in_the_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flow = make_flow(codes=[DO])
    first, bad, last = engine.start_many("flow", [{}, {}, {}])
    break_for_good(monkeypatch, bad, "UPDATE flows_run SET status = 'COMPLETED'")

    with caplog.at_level(logging.INFO):
        work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert (dead.run_id, dead.reason) == (bad, DeadLetter.Reason.NOT_STORABLE)
    assert "RecursionError: of this message" in dead.error
    assert trace(run_of(bad))["steps"][0]["attempts"][0]["errorCode"] == "not-storable"
    assert "of this message" in StepRun.objects.get(run=bad).error
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert {run_of(pk).status for pk in (first, last)} == {Run.Status.COMPLETED}


def break_for_good(monkeypatch: pytest.MonkeyPatch, run_id: UUID, *beginnings: str) -> None:
    database = type(store().database)
    each = database.each

    def broken(self: Any, batch: BatchStatement, rows: Sequence[Any]) -> None:
        if batch.statement.startswith(beginnings) and run_id.hex in repr(rows).replace("-", ""):
            raise RecursionError("of this message")
        each(self, batch, rows)

    monkeypatch.setattr(database, "each", broken)


def test_one_of_many_is_found_without_storing_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = make_flow(codes=[ECHO], threads=1)
    work_until_idle(flow)
    engine.start_many("flow", [{} for _ in range(20)])
    work_until_idle(flow)
    ids = engine.start_many("flow", [{} for _ in range(200)])
    break_for_good(monkeypatch, ids[77], "UPDATE flows_run SET status = 'COMPLETED'")

    work_until_idle(flow)

    assert DeadLetter.objects.get().run_id == ids[77]
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 219


def test_what_cannot_even_be_dead_lettered_waits_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = make_flow(codes=[ECHO])
    first, bad, last = engine.start_many("flow", [{}, {}, {}])
    break_for_good(monkeypatch, bad, "INSERT INTO flows_steprun")

    work_until_idle(flow)

    assert {run_of(pk).status for pk in (first, last)} == {Run.Status.COMPLETED}
    waiting = Message.objects.get()
    assert waiting.run_id == bad
    assert waiting.available_at > store().database.now()
    assert counters("flow-0") == (1, 0)


def test_a_message_whose_step_was_deleted_keeps_no_other_waiting() -> None:
    flow = make_flow(codes=[ECHO])
    first, bad, last = engine.start_many("flow", [{}, {}, {}])
    Message.objects.filter(run=bad).update(step_id=10**9)

    work_until_idle(flow)

    assert {run_of(pk).status for pk in (first, last)} == {Run.Status.COMPLETED}
    assert Message.objects.get().run_id == bad


def test_one_session_that_fails_ends_no_other_of_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_flow("bad", codes=[ECHO])
    make_flow("good", codes=[ECHO])
    engine.start("bad", {})
    run = engine.start("good", {}).correlation_id
    opened = [
        store().open_consumer(Queue.objects.get(name=name).pk, 1, "cluster", "machine")
        for name in ("good-0", "bad-0")
    ]
    go_on = Session.go_on

    def failing(session: Session, claim: bool) -> None:
        if session.lease.consumer_id == opened[1]:
            raise ZeroDivisionError
        go_on(session, claim)

    monkeypatch.setattr(Session, "go_on", failing)
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(opened[0] or 0)

    worker.begin(opened[1] or 0)
    worker.work()

    assert run_of(run).status == Run.Status.COMPLETED


def test_an_outcome_that_the_worker_cannot_decide_on_dead_letters_its_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = make_flow(codes=[ECHO])
    good, bad = engine.start_many("flow", [{}, {"bad": True}])
    result_of_call = isolation.result_of_call

    def overflowing(held: Any, outcome: Any) -> Any:
        if b'"bad"' in outcome.call.body:
            raise OverflowError("days")
        return result_of_call(held, outcome)

    monkeypatch.setattr(isolation, "result_of_call", overflowing)

    work_until_idle(flow)

    assert run_of(good).status == Run.Status.COMPLETED
    assert "OverflowError: days" in DeadLetter.objects.get(run=bad).error


@pytest.mark.parametrize("seconds", ["1e18", "1e10", "366 * 24 * 3600 + 1"])
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_redelivery_asked_for_in_ages_is_a_dead_letter_at_once(
    seconds: str, language: str
) -> None:
    code = f"def run(message, context):\n    raise Retry({seconds}, 'busy')\n"
    flow = make_flow(codes=[code if language == "python" else f"retry({seconds}, 'busy')"])
    flow.steps.get().script.__class__.objects.update(language=language)
    run = engine.start("flow", {}).correlation_id

    work_until_idle(flow)

    letter = DeadLetter.objects.get(run=run)
    assert letter.reason == "script-invalid"
    assert "366 days" in letter.error
    assert letter.deliveries == 1


def test_a_pending_list_that_cannot_be_read_is_dead_lettered() -> None:
    flow = make_flow(codes=[DO, ECHO])
    Queue.objects.filter(name="flow-1").update(size=3, paused=True)
    first, second = engine.start_many("flow", [{"do": "fan out"}, {"do": "fan out"}])
    work_until_idle(flow)
    pending_outputs = Message.objects.filter(pending_outputs=True)[0]
    Message.objects.filter(pk=pending_outputs.pk).update(body="[0," + "[" * 5000)
    Queue.objects.filter(name="flow-1").update(paused=False)

    work_until_idle(flow)

    assert DeadLetter.objects.get().run_id == pending_outputs.run_id
    [good] = {first, second} - {pending_outputs.run_id}
    assert run_of(good).status == Run.Status.COMPLETED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "delete",
    [
        lambda runs: runs.delete(),
        lambda runs: runs.get().delete(),
        lambda runs: runs.order_by("pk").filter(status="QUEUED").delete(),
    ],
)
def test_the_models_refuse_to_delete_a_run_that_is_under_way(delete) -> None:
    flow = make_flow()
    live = engine.start("flow", {}).correlation_id

    with pytest.raises(ProtectedError, match="cancel it first"):
        delete(Run.objects.filter(pk=live))
    work_until_idle(flow)

    assert run_of(live).status == Run.Status.COMPLETED
    assert Run.objects.all().delete()[0] > 0


@pytest.mark.sampled(3)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ALL)
def test_a_message_of_a_run_that_was_deleted_harms_no_other(what: str) -> None:
    flow = make_flow(codes=[DO, ECHO], max_deliveries=1)
    gone, *others = engine.start_many("flow", [{"do": what}, {}, {}])
    # As SQL by hand does: the models refuse it.
    Run.objects.filter(pk=gone)._raw_delete("default")

    work_until_idle(flow)

    assert {run_of(pk).status for pk in others} == {Run.Status.COMPLETED}
    assert not Message.objects.exists()
    assert not BranchEnd.objects.exists()
    assert is_whole()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("table", "operation", "condition"),
    [
        ("flows_steprun", "INSERT", "NEW.run_id = '{run}' AND NEW.outcome = 'COMPLETED'"),
        ("flows_run", "UPDATE", "NEW.correlation_id = '{run}' AND NEW.status = 'COMPLETED'"),
        ("flows_message", "DELETE", "OLD.run_id = '{run}' AND OLD.deliveries = 1"),
    ],
)
def test_a_row_that_the_database_refuses_harms_its_message_alone(
    table: str, operation: str, condition: str
) -> None:
    flow = make_flow(codes=[ECHO])
    first, bad, last = engine.start_many("flow", [{}, {}, {}])
    name = bad.hex if connection.vendor == "sqlite" else str(bad)

    with refusing(table, operation, condition.format(run=name)):
        work_until_idle(flow)

    assert {run_of(pk).status for pk in (first, last)} == {Run.Status.COMPLETED}
    assert run_of(bad).status != Run.Status.COMPLETED
    assert is_whole()


@contextmanager
def refusing(table: str, operation: str, condition: str) -> Iterator[None]:
    """Have the database itself refuse to write such a row."""
    head = f"CREATE TRIGGER refuse BEFORE {operation} ON {table} FOR EACH ROW"
    row = "OLD" if operation == "DELETE" else "NEW"
    if connection.vendor == "sqlite":
        create = [f"{head} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'refused'); END"]
    else:
        create = [
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {condition} THEN RAISE EXCEPTION 'refused'; END IF;"
            f" RETURN {row}; END $$",
            f"{head} EXECUTE FUNCTION refuse()",
        ]
    drop = "DROP TRIGGER refuse" + ("" if connection.vendor == "sqlite" else f" ON {table}")
    with connection.cursor() as cursor:
        for statement in create:
            cursor.execute(statement)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(drop)
