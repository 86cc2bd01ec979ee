from __future__ import annotations

import json
import time
from datetime import timedelta
from unittest import mock
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from flows import engine
from flows.models import Consumer, DeadLetter, Message, Queue, Right, Run, StepRun, StepVersion
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import trace, trace_json
from tests.integration.api.helpers import assert_problem, grant, make_loan_flow

NOW = timezone.now()


def begin(user=None, payload=None) -> Run:
    started = engine.start("loan", payload or {"amount": 5}, user=user)
    return Run.objects.select_related("flow_version").get(pk=started.correlation_id)


def attempt(run: Run, step: int, outcome: str = "COMPLETED", **fields) -> StepRun:
    return StepRun.objects.create(
        run=run,
        step=run.flow_version.steps.get(position=step),
        outcome=outcome,
        started_at=NOW,
        finished_at=NOW + timedelta(milliseconds=5),
        **fields,
    )


def move(run: Run, step: int, **fields) -> None:
    version = run.flow_version.steps.get(position=step)
    fields = {"queue": version.queue, "deliveries": 0, **fields}
    Message.objects.filter(pk=run.pk).update(step=version, **fields)
    Run.objects.filter(pk=run.pk).update(status="RUNNING", started_at=NOW)


def finish(run: Run, status: str, **fields) -> None:
    Message.objects.filter(pk=run.pk)._raw_delete("default")
    Run.objects.filter(pk=run.pk).update(status=status, started_at=NOW, finished_at=NOW, **fields)


def get(client, run, query=""):
    return client.get(f"/async/api/runs/{getattr(run, 'pk', run)}{query}")


@pytest.fixture
def run(user, flow) -> Run:
    grant(user, Right.WATCH, flow)
    return begin(user)


def test_queued_run_waits_at_its_first_step(client, run):
    document = get(client, run).json()

    created_at = document.pop("createdAt")
    assert created_at.endswith("Z")
    assert len(created_at) == len("2026-11-02T09:30:00.120000Z")
    assert [step.pop("status") for step in document["steps"]] == ["QUEUED", "PENDING"]
    assert document.pop("steps")[0] == {
        "name": "step 1",
        "queueName": "loan queue 1",
        "scriptName": "loan script 1",
        "scriptVersion": 1,
        "deliveries": 0,
        "startedAt": None,
        "finishedAt": None,
        "error": None,
        "errorCode": None,
        "causeCode": None,
        "progress": None,
        "attempts": [],
    }
    assert document == {
        "correlationId": str(run.pk),
        "flowName": "loan",
        "flowVersion": 1,
        "status": "QUEUED",
        "currentStep": "step 1",
        "startedAt": None,
        "finishedAt": None,
        "labels": {},
        "deadline": None,
        "result": None,
        "error": None,
        "errorCode": None,
        "causeCode": None,
        "warnings": 0,
        "startedBy": "caller",
        "repeats": None,
        "erasedAt": None,
        "parentCorrelationId": None,
        "priority": 4,
        "startAt": None,
        "waitingBecause": None,
        "waitingCode": None,
        "deadLetterIds": [],
    }


def test_delayed_run_shows_its_time_and_its_priority(client, user, run):
    at = timezone.now() + timedelta(hours=1)
    delayed = engine.start("loan", {}, user=user, start_at=at, priority=7).correlation_id

    shown = client.get(f"/async/api/runs/{delayed}").json()

    assert (shown["startAt"], shown["priority"]) == (rfc3339(at), 7)


def test_held_message_is_shown_as_running(client, run):
    consumer = Consumer.objects.create(
        queue=Queue.objects.get(name="loan queue 2"),
        threads=1,
        cluster="c",
        machine="h",
        created_at=NOW,
        heartbeat_at=NOW,
    )
    attempt(run, 0)
    move(run, 1, queue=None, consumer=consumer, deliveries=1)

    document = get(client, run).json()

    assert document["status"] == "RUNNING"
    assert document["currentStep"] == "step 2"
    assert [step["status"] for step in document["steps"]] == ["COMPLETED", "RUNNING"]
    assert document["steps"][1]["deliveries"] == 1
    assert document["steps"][0]["finishedAt"] is not None
    assert document["steps"][1]["finishedAt"] is None


def test_attempts_are_counted_with_their_errors_and_logs(client, run):
    attempt(run, 0, "FAILED", error="boom", logs='[{"level": "info", "text": "hello"}]')
    attempt(run, 0, "FAILED", error="boom again")
    move(run, 0, deliveries=2)

    step = get(client, run).json()["steps"][0]

    assert step["status"] == "QUEUED"
    assert step["deliveries"] == 2
    assert step["error"] == "boom again"
    assert [a["attempt"] for a in step["attempts"]] == [1, 2]
    assert step["attempts"][0]["logs"] == [{"level": "info", "text": "hello"}]
    assert step["attempts"][1]["logs"] == []


def test_attempts_of_branches_are_counted_each_by_itself(client, run):
    attempt(run, 0)
    attempt(run, 1, "FAILED", branch="1", delivery=1)
    attempt(run, 1, branch="2", delivery=2)
    version = run.flow_version.steps.get(position=1)
    now = {"run": run, "step": version, "body": "{}", "available_at": NOW}
    Message.objects.filter(pk=run.pk)._raw_delete("default")
    Message.objects.create(id=uuid4(), queue=version.queue, deliveries=1, branch="1", **now)
    Message.objects.create(id=uuid4(), queue=version.queue, deliveries=0, branch="3", **now)

    step = get(client, run).json()["steps"][1]

    assert step["status"] == "QUEUED"
    assert step["deliveries"] == 3
    # The first delivery of the second branch left nothing: its worker died.
    assert [(a["branch"], a["attempt"]) for a in step["attempts"]] == [("1", 1), ("2", 2)]


def test_outputs_without_room_wait_for_the_next_step(client, run):
    attempt(run, 0)
    move(run, 0, pending_outputs=True)

    document = get(client, run).json()

    assert document["currentStep"] == "step 2"
    assert [step["status"] for step in document["steps"]] == ["COMPLETED", "QUEUED"]
    [listed] = client.get("/async/api/runs").json()["results"]
    assert listed["currentStep"] == "step 2"


def test_unfinished_run_says_why_it_waits(client, run):
    engine.pause(Queue.objects.get(name="loan queue 1"))

    sentence = get(client, run).json()["waitingBecause"]

    assert sentence.startswith("The queue 'loan queue 1' is paused since ")
    finish(run, "COMPLETED", result="1")
    assert get(client, run).json()["waitingBecause"] is None


def test_completed_run_has_its_result_digit_for_digit(client, run):
    number = "1" * 5000
    attempt(run, 0)
    attempt(run, 1)
    finish(run, "COMPLETED", result=f'{{"n":{number},"x":1.10}}')

    response = get(client, run)

    assert f'"result":{{"n":{number},"x":1.10}}'.encode() in response.content
    run.refresh_from_db()
    assert trace(run)["currentStep"] is None
    assert trace(run)["status"] == "COMPLETED"
    assert [step["status"] for step in trace(run)["steps"]] == ["COMPLETED", "COMPLETED"]


def test_failed_run_names_the_step_and_the_error_of_its_dead_letter(client, run):
    attempt(run, 0)
    attempt(run, 1, "FAILED", error="boom")
    finish(run, "FAILED", error="boom")
    DeadLetter.objects.create(
        run=run,
        step=StepVersion.objects.get(name="step 2"),
        reason="exhausted",
        error="Traceback: boom",
        body="{}",
        deliveries=5,
        dead_at=NOW,
    )

    document = get(client, run).json()

    assert document["status"] == "FAILED"
    assert document["currentStep"] == "step 2"
    assert document["error"] == "boom"
    assert document["steps"][1]["status"] == "FAILED"
    assert document["steps"][1]["error"] == "Traceback: boom"
    assert document["steps"][1]["deliveries"] == 5


def test_cancelled_run_ends_where_it_was(client, run):
    attempt(run, 0)
    finish(run, "CANCELLED")

    document = get(client, run).json()

    assert document["currentStep"] == "step 2"
    assert [step["status"] for step in document["steps"]] == ["COMPLETED", "CANCELLED"]


def test_run_that_ends_while_it_is_read_is_shown_as_ended(run):
    attempt(run, 0)
    attempt(run, 1)
    finish(run, "COMPLETED", result="7")

    assert run.status == "QUEUED"
    assert trace(run)["status"] == "COMPLETED"
    assert json.loads(trace_json(run))["result"] == 7


def test_number_of_queries_does_not_grow_with_steps_and_attempts(user):
    make_loan_flow(steps=8)
    run = begin(user)
    for position in range(8):
        for _ in range(3):
            attempt(run, position)
    # The first time the plans of the steps are read as well.
    trace(run)

    with CaptureQueriesContext(connection) as queries:
        trace(run)

    assert len(queries) <= 14


@pytest.mark.parametrize("right", [Right.WATCH, Right.OPERATE])
def test_who_watches_or_operates_the_flow_sees_runs_of_others(client, user, flow, right):
    grant(user, right, flow)

    assert get(client, begin()).status_code == 200


def test_who_may_only_start_sees_own_runs(client, user, flow):
    grant(user, Right.START, flow)

    assert get(client, begin(user)).status_code == 200
    assert_problem(get(client, begin()), 404, "not-found")


def test_own_run_is_not_seen_without_a_role(client, user, flow):
    assert_problem(get(client, begin(user)), 404, "not-found")


def test_run_of_a_deleted_flow_is_seen_by_who_watches_every_flow(client, user, flow):
    run = begin()
    mapping = grant(user, Right.WATCH, flow)
    flow.delete()
    assert not type(mapping).objects.exists()
    assert_problem(get(client, run), 404, "not-found")

    grant(user, Right.WATCH, None)

    assert get(client, run).json()["flowName"] == "loan"


@pytest.mark.parametrize(
    "id",
    [
        "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e",
        "01932f4e7b8a7c219d5e3f2a1b4c5d6e",
        "nothing",
        "%00",
        "{01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e}",
    ],
)
def test_unknown_and_malformed_ids_are_not_found(client, flow, id):
    assert_problem(get(client, id), 404, "not-found")


def test_id_is_read_in_any_case(client, run):
    assert get(client, str(run.pk).upper()).status_code == 200


def test_caller_without_credentials_is_asked_for_them(anonymous, run):
    assert_problem(get(anonymous, run), 401, "not-authenticated")


@pytest.mark.parametrize(
    "query", ["?wait=", "?wait=-1", "?wait=x", "?wait=nan", "?wait=1&wait=2", "?waits=1"]
)
def test_wrong_query_is_refused(client, run, query):
    assert_problem(get(client, run, query), 400, "query-invalid")


def test_wait_ends_with_its_seconds(client, run):
    begun = time.monotonic()

    response = get(client, run, "?wait=0.2")

    assert response.json()["status"] == "QUEUED"
    assert time.monotonic() - begun >= 0.2


def test_wait_ends_with_the_run(client, run):
    def finish_at_third_look(seconds):
        if sleep.call_count == 3:
            finish(run, "COMPLETED", result="1")

    with mock.patch("flows.monitoring.trace.time.sleep", side_effect=finish_at_third_look) as sleep:
        response = get(client, run, "?wait=30")

    assert response.json()["status"] == "COMPLETED"
    assert response.json()["result"] == 1


def test_longest_wait_is_a_minute(client, run):
    with mock.patch("flows.api.waiting.wait_until_finished") as wait:
        get(client, run, "?wait=1e9")

    assert wait.call_args.args == (run.pk, 60.0)


def test_wait_needs_a_right_first(client, user, flow):
    run = begin()

    with mock.patch("flows.api.waiting.wait_until_finished") as wait:
        assert_problem(get(client, run, "?wait=30"), 404, "not-found")

    assert not wait.called


def test_answer_about_what_a_caller_may_see_is_not_kept_on_its_way(client, run):
    for path in ("runs", f"runs/{run.pk}", "flows", "auth/whoami"):
        response = client.get(f"/async/api/{path}")

        assert response["Cache-Control"] == "no-store"
        assert {"Authorization", "Cookie"} <= set(response["Vary"].split(", "))
