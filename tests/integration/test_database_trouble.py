"""The database is there and does not do what it is asked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import InternalError, OperationalError, close_old_connections, connection
from django.test import Client

from flows import engine
from flows.models import Consumer, QueueState, Run, StepRun
from flows.store import Store, store
from flows.store.commit import Commit
from flows.store.listener import PostgreSQLListener
from flows.store.sqlite import SQLite
from flows.worker import broker
from flows.worker.broker import QueueBroker
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from tests.builders import make_flow, open_lease, run_of, work_until_idle
from tests.databases import is_postgresql
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(not is_postgresql(), reason="what PostgreSQL alone has")
on_sqlite = pytest.mark.skipif(is_postgresql(), reason="what SQLite alone has")

SQLSTATES = ["25006", "53100", "53200", "53300", "58030", "40001", "40P01", "55P03", "57014"]
SQLITE_CODES = [
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_CORRUPT,
]
CODES = SQLSTATES if is_postgresql() else SQLITE_CODES


def refuse(code: Any) -> None:
    """Have a statement end with this code, as the driver and Django tell it."""
    if isinstance(code, str):
        store().database.query(f"DO $$ BEGIN RAISE 'refused' USING ERRCODE = '{code}'; END $$")
    with connection.wrap_database_errors:
        error = sqlite3.OperationalError("refused")
        error.sqlite_errorcode = code
        raise error


@pytest.fixture
def refuse_commits(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int], None]:
    """Have the database refuse a number of commits of results half-way."""
    write, left = Commit._write, {"code": None, "times": 0}

    def refused(self: Commit) -> None:
        if self.results and left["times"]:
            left["times"] -= 1
            refuse(left["code"])
        write(self)

    monkeypatch.setattr(Commit, "_write", refused)
    return lambda code, times: left.update(code=code, times=times)


@pytest.mark.parametrize("code", CODES)
def test_scripts_that_ran_are_not_run_again_when_their_commit_is_refused(
    refuse_commits: Callable[[Any, int], None], code: Any
):
    flow = make_flow(codes=["def run(message, context):\n    return message\n"] * 2)
    ids = engine.start_many(flow.name, [{"n": n} for n in range(5)])
    refuse_commits(code, 2)

    work_until_idle(flow)

    assert {run_of(id).status for id in ids} == {Run.Status.COMPLETED}
    assert StepRun.objects.filter(delivery=1).count() == StepRun.objects.count() == 10
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    assert not Consumer.objects.exists()


@pytest.fixture
def caller(admin_user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(admin_user)
    return client


def start(caller: Client) -> Any:
    return caller.post("/async/api/start?flowName=flow", "{}", content_type="application/json")


@pytest.mark.parametrize("code", CODES)
def test_a_start_that_is_refused_may_be_repeated(
    caller: Client, monkeypatch: pytest.MonkeyPatch, code: Any
):
    make_flow()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "start", lambda self, runs: refuse(code))
        answer = start(caller)

    assert answer.status_code == 503
    assert answer.json()["type"].endswith("/database-unavailable")
    assert int(answer["Retry-After"]) > 0
    assert start(caller).status_code == 202


@pytest.mark.parametrize(
    "code", ["42P01", "22001"] if is_postgresql() else [sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG]
)
def test_what_is_no_trouble_of_the_database_is_no_503(
    caller: Client, monkeypatch: pytest.MonkeyPatch, code: Any
):
    make_flow()
    monkeypatch.setattr(Store, "start", lambda self, runs: refuse(code))

    assert start(caller).status_code == 500


@pytest.mark.parametrize("path", ["/admin/", "/async/specifications/swagger-ui/index.html"])
def test_pages_say_that_the_database_cannot_be_used(
    caller: Client, monkeypatch: pytest.MonkeyPatch, path: str
):
    def refused(*args: object, **options: object) -> None:
        refuse(CODES[0])

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", refused)
    monkeypatch.setattr("drf_spectacular.views.SpectacularSwaggerView.get", refused)
    answer = caller.get(path)

    assert answer.status_code == 503
    assert answer["Retry-After"]


@pytest.fixture
def read_only() -> Iterator[Callable[[bool], None]]:
    """Let the database be read-only, as PostgreSQL's operators do it, or no longer."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])

    def set_read_only(on: bool) -> None:
        options: Any = "-c default_transaction_read_only=off"
        params = connection.get_connection_params() | {"options": options}
        params.pop("cursor_factory")
        params.pop("context")
        params.pop("prepare_threshold")
        with psycopg.connect(**params, autocommit=True) as server:
            server.execute(
                f"ALTER DATABASE {name} SET default_transaction_read_only = {on}".encode()
            )

    yield set_read_only
    connection.close()
    set_read_only(False)


@on_postgresql
def test_a_read_only_database_is_told_and_served_again_at_once(
    caller: Client, read_only: Callable[[bool], None]
):
    make_flow()
    read_only(True)
    connection.close()

    refused, ready = start(caller), caller.get("/async/health/ready")
    read_only(False)
    # The server does so before each request, the tests' client does not.
    close_old_connections()

    assert refused.status_code == ready.status_code == 503
    assert refused["Retry-After"]
    assert ready["Retry-After"]
    assert ready.json()["type"].endswith("/database-unavailable")
    assert start(caller).status_code == 202
    assert caller.get("/async/health/ready").status_code == 200


@on_postgresql
def test_sessions_wait_for_the_end_of_a_read_only_time(read_only: Callable[[bool], None]):
    flow = make_flow(codes=["def run(message, context):\n    return message\n"])
    started = engine.start(flow.name, {})
    lease = open_lease("flow-0")
    session = Session(lease, this_worker.hosts())
    session.go_on(True)
    wait_for(lambda: not session.running or collect(session), 30, "the end of the script")
    read_only(True)
    connection.close()
    session.go_on(True)
    assert session.retries.failed == 1
    read_only(False)

    def has_committed() -> bool:
        session.go_on(True)
        return lease.closed

    wait_for(has_committed, 30, "the commit")

    assert run_of(started.correlation_id).status == Run.Status.COMPLETED
    assert [step.delivery for step in StepRun.objects.all()] == [1]


def collect(session: Any) -> bool:
    for outcome in session.hosts.collect(0.1):
        session.finish(outcome.call.key[1], outcome)
    return False


@on_postgresql
def test_a_deadlock_ends_for_one_and_the_other_goes_on(caller: Client):
    make_flow()
    state = QueueState.objects.get(queue__name="flow-0")

    with pytest.raises(OperationalError) as raised:
        refuse("40P01")

    assert raised.value.__cause__.sqlstate == "40P01"
    assert start(caller).status_code == 202
    state.refresh_from_db()
    assert state.depth == 1


@pytest.mark.parametrize("code", CODES)
def test_no_worker_loses_a_lease_because_nothing_could_be_written(
    monkeypatch: pytest.MonkeyPatch, code: Any
):
    make_flow()
    lease = open_lease("flow-0")
    long_ago = store().database.now() - timedelta(seconds=60)
    Consumer.objects.filter(pk=lease.consumer_id).update(heartbeat_at=long_ago, machine="elsewhere")
    work = QueueBroker()
    work.patient_until, work.reaped_at = 0.0, time.monotonic() - 2
    monkeypatch.setattr(broker.time, "sleep", lambda seconds: None)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "require_writable", lambda self, quiet: refuse(code))
        work.dequeue()
    work.dequeue()
    assert work.listener is not None
    work.listener.close()

    in_the_way = {"40001", "40P01", "55P03", "57014", sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    assert Consumer.objects.filter(pk=lease.consumer_id).exists() is (code not in in_the_way)


def test_a_quiet_consumer_makes_the_broker_ask_whether_writing_is_possible(
    monkeypatch: pytest.MonkeyPatch,
):
    make_flow()
    lease = open_lease("flow-0")
    written: list[str] = []
    change = store().database.change

    def noted(sql: str, params: Any = ()) -> int:
        written.append(sql)
        return change(sql, params)

    monkeypatch.setattr(store().database, "change", noted)

    store().require_writable(timedelta(seconds=3))
    assert not written
    before = store().database.now() - timedelta(seconds=60)
    Consumer.objects.filter(pk=lease.consumer_id).update(heartbeat_at=before)
    store().require_writable(timedelta(seconds=3))

    assert len(written) == 1
    assert Consumer.objects.get().heartbeat_at == before


@on_postgresql
def test_a_broker_whose_listening_connection_was_ended_listens_again():
    work = QueueBroker()
    work.dequeue()
    assert isinstance(work.listener, PostgreSQLListener)
    pid = work.listener.connection.info.backend_pid

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_for(
        lambda: work.dequeue() == [] and work.listener is None, 30, "the loss of the connection"
    )
    work.dequeue()

    assert work.listener.connection.info.backend_pid != pid
    work.listener.close()


@on_postgresql
def test_a_statement_that_a_lost_listener_makes_fails_as_djangos_errors_do():
    listener = store().database.listener()
    listener.close()

    with pytest.raises(OperationalError):
        listener.look()


@on_postgresql
def test_read_only_is_no_operational_error():
    with pytest.raises(InternalError), connection.cursor() as cursor:
        cursor.execute("BEGIN READ ONLY; DELETE FROM flows_run")
    with suppress(Exception), connection.cursor() as cursor:
        cursor.execute("ROLLBACK")


@on_sqlite
@pytest.mark.parametrize("content", [b"", b"something else" * 1000])
def test_ready_names_a_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
):
    file = tmp_path / "database"
    file.write_bytes(content)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(file))

    assert SQLite().unwritable().startswith("The database refuses") is bool(content)


@on_sqlite
def test_ready_is_not_disturbed_by_another_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "database"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setitem(connection.settings_dict, "NAME", str(file))

    assert SQLite().unwritable() == ""
    other.close()


@on_sqlite
def test_ready_names_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: Client):
    file = tmp_path / "database"
    file.touch()
    monkeypatch.setitem(connection.settings_dict, "NAME", str(file))
    monkeypatch.setattr("flows.store.sqlite.LEAST_FREE_BYTES", 1 << 62)

    answer = caller.get("/async/health/ready")

    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert answer.json()["detail"] == "The disk with the database is full."
