"""What a run was started with, what it gave, and its log."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from unittest import mock

import pytest
from django.utils import timezone

from flows import engine
from flows.models import Consumer, Flow, Message, Queue, Right, Run, RunningAttempt, StepRun
from flows.models.keep import Keep
from flows.monitoring.times import rfc3339
from tests.integration.api.helpers import assert_problem, grant

from .test_dead_letters import make_dead_letter

NOW = timezone.now()


@pytest.fixture
def run(user, flow) -> Run:
    grant(user, Right.WATCH, flow)
    started = engine.start("loan", b'{"amount": 1.10, "big": 100000000000000000000001}')
    return Run.objects.get(pk=started.correlation_id)


def get(client, run, what):
    return client.get(f"/async/api/runs/{run.pk}/{what}")


def end(run, status, **fields):
    Message.objects.filter(pk=run.pk)._raw_delete("default")
    Run.objects.filter(pk=run.pk).update(status=status, finished_at=NOW, **fields)


def attempt(run, position, lines, delivery=1, **fields):
    logs = [{"at": at, "level": "info", "text": text} for at, text in lines]
    StepRun.objects.create(
        run=run,
        step=run.flow_version.steps.get(position=position),
        delivery=delivery,
        outcome="COMPLETED",
        started_at=NOW,
        finished_at=NOW,
        logs=json.dumps(logs) if logs else "",
        **fields,
    )


def test_input_is_returned_digit_for_digit_while_the_run_waits_and_after(client, run):
    sent = b'{"amount": 1.10, "big": 100000000000000000000001}'
    assert get(client, run, "input").content == sent

    engine.cancel(run)

    response = get(client, run, "input")
    assert response.content == sent
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("keep", [Keep.NOTHING, Keep.FAILURES])
def test_input_that_is_not_kept_is_409(client, run, keep):
    Flow.objects.update(keep=keep)
    started = engine.start("loan", {})
    late = Run.objects.get(pk=started.correlation_id)
    engine.cancel(late)

    document = assert_problem(get(client, late, "input"), 409, "input-not-kept")

    assert "not kept" in document["detail"]


def test_result_is_returned_as_the_script_wrote_it(client, run):
    end(run, "COMPLETED", result='{"x": 1.10}')

    assert get(client, run, "result").content == b'{"x": 1.10}'


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ("QUEUED", "run-not-finished"),
        ("RUNNING", "run-not-finished"),
        ("FAILED", "no-result"),
        ("CANCELLED", "no-result"),
    ],
)
def test_run_without_a_result_is_409(client, run, status, problem):
    Run.objects.filter(pk=run.pk).update(status=status)

    assert_problem(get(client, run, "result"), 409, problem)


def test_log_has_the_lines_of_all_attempts_with_their_places(client, run):
    attempt(run, 0, [(1795820897.17, "first")])
    attempt(run, 0, [(1795820898.0, "again")], delivery=3)
    attempt(run, 1, [(1795820899.0, "branch")], branch="1.2")
    attempt(run, 1, [])
    end(run, "COMPLETED")

    log = get(client, run, "logs").json()

    assert log["entries"][0] == {
        "at": "2026-11-27T23:08:17.170000Z",
        "level": "info",
        "text": "first",
        "stepName": "step 1",
        "branch": None,
        "attempt": 1,
    }
    assert [(e["text"], e["stepName"], e["branch"], e["attempt"]) for e in log["entries"][1:]] == [
        ("again", "step 1", None, 3),
        ("branch", "step 2", "1.2", 1),
    ]
    assert (log["nextOffset"], log["isComplete"]) == (3, True)


def test_log_is_followed_by_its_offset_until_it_is_complete(client, run):
    attempt(run, 0, [(float(n), str(n)) for n in range(5)])
    consumer = Consumer.objects.create(
        queue=Queue.objects.get(name="loan queue 2"),
        threads=1,
        cluster="c",
        machine="h",
        created_at=NOW,
        heartbeat_at=NOW,
    )
    step = run.flow_version.steps.get(position=1)
    Message.objects.filter(pk=run.pk).update(queue=None, consumer=consumer, step=step, deliveries=1)
    RunningAttempt.objects.create(
        message_id=run.pk,
        consumer_id=consumer.pk,
        delivery=1,
        started_at=NOW,
        logs='[{"at": 5.0, "level": "info", "text": "5"}]',
    )
    seen: list[str] = []

    def read() -> bool:
        log = get(client, run, f"logs?offset={len(seen)}").json()
        seen.extend(entry["text"] for entry in log["entries"])
        assert log["nextOffset"] == len(seen)
        return bool(log["isComplete"])

    with mock.patch("flows.monitoring.run_logs.PAGE_LINES", 4):
        assert [read(), read()] == [False, False]
        assert seen == list("012345")
        attempt(run, 1, [(5.0, "5"), (6.0, "6")])
        end(run, "COMPLETED")
        assert read()
    assert seen == list("0123456")


def test_run_shows_the_times_of_its_log_as_text(client, run):
    moment = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    attempt(run, 0, [(moment.timestamp(), "hello")])

    [first, _] = client.get(f"/async/api/runs/{run.pk}").json()["steps"]

    assert first["attempts"][0]["logs"] == [
        {"at": rfc3339(moment), "level": "info", "text": "hello"}
    ]


def test_failed_run_names_its_open_dead_letters_and_why_it_failed(client, run):
    letter = make_dead_letter(reason="exhausted")

    failed = client.get(f"/async/api/runs/{letter.run_id}").json()

    assert failed["deadLetterIds"] == [letter.pk]
    assert (failed["error"], failed["errorCode"]) == ("boom", "exhausted")
    assert failed["steps"][1]["errorCode"] == "exhausted"
    [shown, _] = client.get("/async/api/runs").json()["results"]
    assert shown["errorCode"] == "exhausted"


@pytest.mark.parametrize("offset", ["-1", "x", "1000000001", "1" * 5000, ""])
def test_wrong_offset_is_refused(client, run, offset):
    assert_problem(get(client, run, f"logs?offset={offset}"), 400, "query-invalid")
