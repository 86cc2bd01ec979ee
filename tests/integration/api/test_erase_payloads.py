from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from flows import engine
from flows.archive.files import append
from flows.archive.reading import read
from flows.archive.record import records
from flows.erasure import erasing
from flows.models import AuditEntry, DeadLetter, Right, Run
from tests.builders import work_until_idle
from tests.integration.api.helpers import assert_problem, grant, make_loan_flow, work_tasks

PATH = "/async/api/runs/erase"
LABELS = {"customer": "77"}


@pytest.fixture(autouse=True)
def a_request_erases_all(monkeypatch):
    """However slow the machine is: after a second the rest would be left to tasks."""
    monkeypatch.setattr("flows.tasks.erasing.SLICE_SECONDS", 600.0)


@pytest.fixture
def caller(client, user, flow):
    make_loan_flow("other")
    grant(user, Right.OPERATE, flow)
    grant(user, Right.START, flow)
    return client


def start(name: str = "loan", **options: Any) -> Run:
    return Run.objects.get(pk=engine.start(name, {"n": 1}, **options).correlation_id)


def cancelled(name: str = "loan", **options: Any) -> Run:
    return engine.cancel(start(name, **options))


def erase(client, **body: Any) -> Any:
    return client.post(PATH, body, content_type="application/json")


def erased() -> set[Run]:
    return set(Run.objects.filter(erased_at__isnull=False))


def test_the_payloads_of_a_run_go_and_its_operations_say_so(caller, flow):
    run = start()
    work_until_idle(flow)
    address = f"/async/api/runs/{run.pk}"
    assert caller.get(f"{address}/input").json() == {"n": 1}

    told = erase(caller, correlationId=str(run.pk), dryRun=True)
    assert erased() == set()
    done = erase(caller, correlationId=str(run.pk), reason="asked for")

    assert (told.status_code, done.status_code) == (202, 202)
    assert told.json() == done.json() | {"erased": 0, "isComplete": False}
    assert {"inputs", "results"} <= done.json()["places"].keys()
    assert done.json() | {"places": {}} == {
        "runs": 1,
        "erased": 1,
        "isComplete": True,
        "places": {},
    }
    entry = AuditEntry.objects.get(verb="erase")
    assert (entry.actor, entry.reason, entry.source) == ("caller", "asked for", "api")
    assert caller.get(address).json()["erasedAt"]
    for response in (
        caller.get(f"{address}/input"),
        caller.get(f"{address}/result"),
        caller.post(f"{address}/again", {}, content_type="application/json"),
    ):
        assert_problem(response, 409, "payload-erased")


def test_a_dead_letter_whose_payload_was_erased_is_not_reprocessed(caller, flow):
    step = flow.steps.get(position=1)
    step.script.code = "def run(message, context):\n    raise Reject('never')\n"
    step.script.save()
    run = start()
    work_until_idle(flow)

    assert erase(caller, correlationId=str(run.pk)).json()["places"]["deadLetters"] == 1

    letter = DeadLetter.objects.get()
    address = f"/async/api/dead-letters/{letter.pk}"
    assert_problem(caller.get(address), 409, "payload-erased")
    for body in ({}, {"payload": {"n": 2}}):
        response = caller.post(f"{address}/reprocess", body, content_type="application/json")
        assert_problem(response, 409, "payload-erased")


def test_a_label_reaches_the_flows_that_the_caller_operates(caller):
    mine, other, without = cancelled(labels=LABELS), cancelled("other", labels=LABELS), cancelled()
    repeat = cancelled()
    Run.objects.filter(pk=repeat.pk).update(repeats=mine.pk)

    assert erase(caller, label="customer:77").json()["runs"] == 2

    assert erased() == {mine, repeat}
    assert not erased() & {other, without}


def test_what_cannot_be_erased_is_refused_and_stays(caller, user, flow):
    going_on, other, parent = start(labels=LABELS), cancelled("other"), cancelled()
    cancelled(labels=LABELS)
    Run.objects.filter(pk=other.pk).update(parent=parent.pk)

    refused = {
        ("run-not-finished", 409): {"correlationId": str(going_on.pk)},
        ("not-found", 404): {"correlationId": str(uuid4())},
        ("no-role", 403): {"correlationId": str(parent.pk)},
    }
    for (type, status), body in refused.items():
        for more in ({}, {"dryRun": True}):
            assert_problem(erase(caller, **body, **more), status, type)
    assert_problem(erase(caller, label="customer:77"), 409, "run-not-finished")
    for body in ({}, {"label": "nothing"}, {"label": "a:b", "correlationId": str(parent.pk)}):
        assert_problem(erase(caller, **body), 400, "payload-invalid")
    assert erased() == set()


def test_tasks_erase_in_the_archive_file_by_file(caller, flow, monkeypatch, settings, tmp_path):
    settings.ASYNCENGINE_ARCHIVE_DIR = str(tmp_path)
    monkeypatch.setattr("flows.tasks.erasing.SLICE_SECONDS", 0.0)
    runs = [cancelled(labels=LABELS) for _ in range(3)]
    for day, run in enumerate(runs):
        append(flow.name, records([run.pk]), timezone.now() + timedelta(days=day))

    assert erase(caller, label="customer:77").json()["isComplete"]
    assert work_tasks() == 3

    assert [bool(each.document["erasedAt"]) for each in read()] == [True] * 3
    assert AuditEntry.objects.filter(verb="erase", kind="archive").count() == 3
    assert not OrmQ.objects.exists()


def test_tasks_erase_what_is_left_by_the_answer(caller, monkeypatch):
    monkeypatch.setattr("flows.tasks.erasing.SLICE_SECONDS", 0.0)
    monkeypatch.setattr(erasing, "BATCH", 1)
    for _ in range(3):
        cancelled(labels=LABELS)

    answer = erase(caller, label="customer:77", reason="asked for").json()

    assert (answer["runs"], answer["erased"], answer["isComplete"]) == (3, 1, False)
    # One that is started later, and is under way, keeps nothing back.
    later = start(labels=LABELS)
    assert work_tasks() == 2
    assert len(erased()) == 3
    assert later not in erased()
    assert not OrmQ.objects.exists()
    assert {entry.reason for entry in AuditEntry.objects.filter(verb="erase")} == {"asked for"}
