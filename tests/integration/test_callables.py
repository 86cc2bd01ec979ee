"""Callables through the engine, the configuration document and the command."""

import io
import json
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection

from flows import engine
from flows.configuration import ConfigurationInvalid, export_configuration, import_configuration
from flows.models import Message, Queue, Run, StepRun
from flows.store import store
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker
from scripts.models import Library, Script, Secret
from scripts.models.secret_values import forget_secrets
from tests.builders import (
    ECHO,
    TRAIL,
    make_callable,
    make_flow,
    make_script,
    run_of,
    work,
    work_until_idle,
)
from tests.callables import noted
from tests.waiting import wait_for

PATH = "tests.callables.record"
DOCUMENT = {"scripts": [{"name": "s", "language": "callable", "code": PATH, "inTransaction": True}]}

pytestmark = pytest.mark.django_db(transaction=True)

writes_aside = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="SQLite in memory has no second connection that writes"
)


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]


def faults_of(script, *errors):
    with pytest.raises(ConfigurationInvalid) as caught:
        import_configuration({"scripts": [{"name": "s", **script}]})
    return str(caught.value)


# --- configuration --------------------------------------------------------------------------------


def test_the_document_has_callables_and_says_only_where_they_run_in_the_transaction():
    import_configuration(DOCUMENT)
    make_script("other", "tests.callables.trail", language="callable")
    make_script("plain")

    exported = {each["name"]: each for each in export_configuration()["scripts"]}

    assert exported["s"]["language"] == "callable"
    assert exported["s"]["code"] == PATH
    assert exported["s"]["inTransaction"] is True
    assert "inTransaction" not in exported["other"]
    assert "inTransaction" not in exported["plain"]
    assert str(import_configuration(DOCUMENT)) == str(import_configuration(export_configuration()))
    assert Script.objects.get(name="s").versions.count() == 1


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ({"language": "callable", "code": "os.system"}, "scripts[0].code: The module os is not"),
        ({"language": "callable", "code": "tests.callables.absent"}, "has no function 'absent'"),
        ({"language": "callable", "code": ECHO}, "dotted path"),
        ({"code": ECHO, "inTransaction": True}, "scripts[0].inTransaction: is for callables"),
        ({"language": "callable", "code": PATH, "inTransaction": 1}, "must be true or false"),
    ],
)
def test_an_import_refuses_what_cannot_run(script, fault):
    assert fault in faults_of(script)


def test_an_import_refuses_callables_where_they_are_off(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = []

    assert "Callables are off" in faults_of({"language": "callable", "code": PATH})


def test_no_library_is_a_callable():
    with pytest.raises(ConfigurationInvalid, match="must be one of"):
        import_configuration({"libraries": [{"name": "x", "language": "callable", "code": PATH}]})
    with pytest.raises(ValidationError, match="not a valid choice"):
        Library(name="x", language="callable", code=PATH).full_clean()


def test_a_script_refuses_what_cannot_run():
    with pytest.raises(ValidationError, match="has no function 'absent'"):
        Script(name="s", language="callable", code="tests.callables.absent").full_clean()
    with pytest.raises(ValidationError, match="Only a callable"):
        Script(name="s", code=ECHO, in_transaction=True).full_clean()
    Script(name="s", language="callable", code=PATH, in_transaction=True).full_clean()


# --- the engine -----------------------------------------------------------------------------------


def test_a_callable_is_a_step_between_scripts():
    flow = make_flow(codes=[TRAIL, "tests.callables.trail", TRAIL])
    make_callable("tests.callables.trail")
    ids = engine.start_many("flow", [{"n": n} for n in range(50)])

    work_until_idle(flow)

    for id in ids:
        trail = json.loads(run_of(id).result)["payload"]["trail"]
        assert trail == ["flow-0", ["flow-1", 1], "flow-2"]
    assert StepRun.objects.count() == 150


def test_a_module_that_is_not_allowed_on_this_machine_is_named_and_tried_again(settings):
    make_flow(codes=["tests.callables.trail"])
    make_callable("tests.callables.trail")
    engine.start("flow", {})
    settings.ASYNCENGINE_CALLABLE_MODULES = ["elsewhere"]

    work("flow-0")

    assert Message.objects.get().deliveries == 1
    assert "tests.callables is not allowed" in StepRun.objects.get().error


@writes_aside
def test_each_thread_writes_on_a_connection_of_its_own():
    make_flow(codes=[PATH], threads=4)
    make_callable(PATH)
    ids = engine.start_many("flow", [{}, {"do": "raise"}, {"do": "close"}, {}])

    work("flow-0")

    # What it wrote stays, whatever came of the message: only a transaction would take it back.
    assert noted() == sorted(f"{id}/flow-0 flow-0" for id in ids)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 3


@writes_aside
def test_one_whose_time_is_up_leaves_nothing_open():
    make_flow(codes=["tests.callables.spins_in_a_transaction"])
    script = make_callable("tests.callables.spins_in_a_transaction")
    script.timeout = timedelta(seconds=0.3)
    script.save()
    engine.start("flow", {})

    work("flow-0")

    assert "time limit of 0.3 s" in StepRun.objects.get().error
    assert noted() == []
    open_transactions = (
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state LIKE 'idle in transaction%'"
    )
    with connection.cursor() as cursor:
        cursor.execute(open_transactions)
        assert cursor.fetchone() == (0,)


def test_cancelling_a_run_ends_its_callable():
    make_flow(codes=["tests.callables.waits_to_be_ended"])
    make_callable("tests.callables.waits_to_be_ended")
    started = engine.start("flow", {})
    pk = store().open_consumer(Queue.objects.get().pk, 1, "cluster", "machine")
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(pk)
    engine.cancel(run_of(started.correlation_id))

    def has_ended():
        worker._collect()
        for session in worker.sessions:
            session.go_on(claim=False)
        return all(session.lease.closed for session in worker.sessions)

    wait_for(has_ended, 10)

    assert run_of(started.correlation_id).status == Run.Status.CANCELLED
    assert StepRun.objects.get().outcome == StepRun.Outcome.CANCELLED
    assert not Message.objects.exists()


@pytest.mark.parametrize("in_transaction", [False, True])
def test_secrets_are_given_and_not_told(in_transaction):
    secret = Secret(name="key")
    secret.set_value("correct horse")
    secret.save()
    forget_secrets()
    make_flow(codes=["tests.callables.tells_its_secret"])
    script = make_callable("tests.callables.tells_its_secret", in_transaction)
    script.secrets = ["key"]
    script.save()
    engine.start("flow", {})

    work("flow-0")

    told = StepRun.objects.get()
    assert json.loads(told.logs)[0]["text"] == "It is ***"
    assert "ValueError: ***" in told.error
    assert "correct horse" not in told.error
    assert "not-granted" not in told.error


# --- the command ----------------------------------------------------------------------------------


def test_the_command_tries_a_callable_and_takes_back_what_it_wrote():
    make_script("recording", PATH, language="callable")
    out, err = io.StringIO(), io.StringIO()

    call_command("script", "test", "recording", "--input", "{}", stdout=out, stderr=err)

    assert json.loads(out.getvalue())["payload"] == {"trail": [["recording", 1]]}
    assert "warning: recording" in err.getvalue()
    assert noted() == []


def test_the_command_tells_what_went_wrong():
    make_script("recording", PATH, language="callable")
    err = io.StringIO()

    with pytest.raises(SystemExit):
        call_command("script", "test", "recording", "--input", '{"do": "raise"}', stderr=err)

    assert "ValueError: no luck" in err.getvalue()
    assert noted() == []
