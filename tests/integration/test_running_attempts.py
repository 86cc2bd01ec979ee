"""What is seen of a script that runs for long, and what is kept when it is ended."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from django.db import OperationalError
from django.db.models import Model
from django.urls import reverse

from flows import engine
from flows.management.commands.runs import Printed
from flows.models import Consumer, DeadLetter, Message, Queue, Run, RunningAttempt, StepRun
from flows.monitoring.conservation import check
from flows.monitoring.progress import ProgressLines
from flows.monitoring.run_story import NOW, WAITED, run_story
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import trace
from flows.store import Store, store
from flows.store.lost_attempts import DIED, STOPPED
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker
from tests.builders import ECHO, make_flow, run_of, work, work_until_idle
from tests.hosts.pools import children
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = timedelta(hours=1)
ENDLESS = """\
def run(message, context):
    context.log('begun', 1)
    context.progress(1, 4, '<rows>')
    while True: pass
"""


def admin_page(row: Model) -> str:
    return reverse(f"admin:flows_{row._meta.model_name}_change", args=[row.pk])


class AtWork:
    """A worker in this process that works while something is waited for."""

    def __init__(self, queue: str) -> None:
        pk = store().open_consumer(Queue.objects.get(name=queue).pk, 4, "cluster", "machine")
        assert pk
        self.worker = Worker(this_worker.hosts(), "cluster")
        self.worker.begin(pk)

    def until(self, condition):
        def look():
            if self.worker.sessions:
                self.worker._collect()
            for session in self.worker.sessions:
                session.go_on(claim=False)
            self.worker.sessions = [s for s in self.worker.sessions if not s.lease.closed]
            return condition()

        return wait_for(look, PATIENCE)


@pytest.fixture
def started() -> Run:
    make_flow(codes=[ENDLESS])
    return run_of(engine.start("flow", {}).correlation_id)


@pytest.fixture
def at_work(started):
    at_work = AtWork("flow-0")
    at_work.until(lambda: RunningAttempt.objects.exclude(logs="").exists())
    yield at_work
    for session in at_work.worker.sessions:
        session.forget()


def test_a_step_that_runs_for_long_is_seen_with_its_log(started, at_work, admin_client):
    [step] = trace(started)["steps"]
    page = admin_client.get(reverse("admin:flows_run_change", args=[started.pk]))

    [attempt] = step["attempts"]
    assert step["status"] == "RUNNING"
    assert step["startedAt"] == attempt["startedAt"] is not None
    assert (attempt["attempt"], attempt["outcome"], attempt["finishedAt"]) == (1, "RUNNING", None)
    assert [line["text"] for line in attempt["logs"]] == ["begun 1"]
    [group] = page.context["run_steps"][0]["groups"]
    assert (group["name"], group["outcome"]) == ("Attempt 1", "RUNNING")
    assert "begun 1" in page.content.decode()


def test_a_note_whose_commit_was_in_doubt_goes_with_its_script(started, monkeypatch):
    real, at_work = Store.note_running, AtWork("flow-0")
    [session] = at_work.worker.sessions

    def lose_connection(store, *args):
        real(store, *args)
        # No other note follows.
        session.looked_at = inf
        raise OperationalError("the connection was lost")

    monkeypatch.setattr(Store, "note_running", lose_connection)
    at_work.until(RunningAttempt.objects.exists)

    engine.cancel(started)
    at_work.until(lambda: not Message.objects.exists())

    assert not RunningAttempt.objects.exists()
    session.forget()


@pytest.mark.long
def test_a_cancellation_whose_word_was_lost_with_the_connection_stops_the_run(monkeypatch):
    code = "import time\ndef run(m, c):\n    end = time.monotonic() + 4\n"
    make_flow(codes=[code + "    while time.monotonic() < end: pass\n    return m\n", ECHO])
    run = run_of(engine.start("flow", {}).correlation_id)
    real, at_work = Store.cancelled, AtWork("flow-0")

    def lose_connection(store, *args):
        real(store, *args)
        monkeypatch.undo()
        raise OperationalError("the connection was lost")

    monkeypatch.setattr(Store, "cancelled", lose_connection)
    at_work.until(RunningAttempt.objects.exists)
    engine.cancel(run)
    at_work.until(lambda: not at_work.worker.sessions)

    assert not Message.objects.exists()
    assert run_of(run.pk).status == Run.Status.CANCELLED
    assert StepRun.objects.get().outcome == StepRun.Outcome.CANCELLED
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_the_time_of_a_script_at_work_counts_as_running(started, at_work, admin_client):
    running = RunningAttempt.objects.get()
    RunningAttempt.objects.update(started_at=running.started_at - timedelta(seconds=90))
    Run.objects.update(created_at=running.started_at - timedelta(seconds=100))

    story = run_story(run_of(started.pk))
    page = admin_client.get(reverse("admin:flows_run_change", args=[started.pk]))

    assert [span.kind for span in story.steps[0].spans] == [WAITED, NOW]
    assert story.waited == timedelta(seconds=10)
    assert story.ran >= timedelta(seconds=90)
    assert "ran 1 min" in page.content.decode()


def test_the_progress_of_a_step_is_seen_while_it_runs(started, at_work, admin_client):
    lines = ProgressLines(started.pk)
    lines._looked_at = 0
    row = RunningAttempt.objects.get()

    [step] = trace(started)["steps"]
    page = admin_client.get(reverse("admin:flows_run_change", args=[started.pk]))
    [line] = lines.new()

    at = datetime.fromtimestamp(json.loads(row.progress)["at"], UTC)
    assert step["progress"] == {"done": 1, "total": 4, "text": "<rows>", "at": rfc3339(at)}
    assert line == "flow-0: 1 of 4 (25 %): <rows>"
    shown = page.content.decode()
    assert 'value="1" max="4"' in shown
    assert "1 of 4 (25 %): &lt;rows&gt;" in shown


def test_each_line_of_progress_is_printed_once(started, at_work):
    lines = ProgressLines(started.pk)
    lines._looked_at = 0

    assert len(lines.new()) == 1
    lines._looked_at = 0
    assert lines.new() == []


def test_a_step_that_has_ended_has_no_progress(started, at_work):
    engine.cancel(started)

    at_work.until(lambda: not at_work.worker.sessions)

    assert [step["progress"] for step in trace(run_of(started.pk))["steps"]] == [None]


def test_a_cancelled_run_keeps_the_log_of_its_script(started, at_work):
    engine.cancel(started)

    at_work.until(lambda: not at_work.worker.sessions)

    told = StepRun.objects.get()
    assert told.outcome == "CANCELLED"
    assert [line["text"] for line in json.loads(told.logs)] == ["begun 1"]
    assert not RunningAttempt.objects.exists()


def test_a_killed_script_keeps_its_log(started, at_work):
    zygote = this_worker.hosts()._hosts.zygote
    assert zygote is not None
    for host in children(zygote._process.pid):
        os.kill(host, signal.SIGKILL)

    at_work.until(lambda: not at_work.worker.sessions)

    told = StepRun.objects.get()
    assert (told.outcome, json.loads(told.logs)[0]["text"]) == ("FAILED", "begun 1")
    assert "SIGKILL" in told.error
    assert not RunningAttempt.objects.exists()


def test_what_a_lost_consumer_has_noted_is_not_shown(started, at_work):
    [session] = at_work.worker.sessions
    noted = RunningAttempt.objects.get()
    store().close(session.lease)
    assert not RunningAttempt.objects.exists()
    noted.save(force_insert=True)

    [step] = trace(started)["steps"]

    assert (step["status"], [each["outcome"] for each in step["attempts"]]) == (
        "QUEUED",
        ["FAILED"],
    )


@pytest.mark.parametrize("ends", ["died", "stopped"])
def test_the_log_that_was_seen_stays_when_the_worker_is_gone(started, at_work, ends):
    printed = Printed(None)
    before = [line["text"] for line in printed.news(trace(started))]
    consumer = Consumer.objects.get()

    if ends == "died":
        store().reap(consumer.machine, lambda pid: False, LEASE, LEASE)
    else:
        store().close(at_work.worker.sessions[0].lease)
    [step] = trace(started)["steps"]
    [end] = printed.news(trace(started))

    [attempt] = step["attempts"]
    assert before == ["begun 1"]
    assert [line["text"] for line in attempt["logs"]] == before
    assert attempt["finishedAt"] >= attempt["startedAt"]
    assert attempt["outcome"] == end["outcome"] == "FAILED"
    assert attempt["error"] == end["error"] == (DIED if ends == "died" else STOPPED)
    assert not RunningAttempt.objects.exists()


@pytest.mark.parametrize("seen", [True, False])
def test_out_of_deliveries_by_the_death_of_a_worker_is_told_alike_everywhere(
    started, at_work, admin_client, seen
):
    """An attempt of less than a second was not seen by others."""
    if not seen:
        RunningAttempt.objects.all().delete()
    Queue.objects.update(max_deliveries=1)
    consumer = Consumer.objects.get()
    store().reap(consumer.machine, lambda pid: False, LEASE, LEASE)

    work("flow-0")

    run = run_of(started.pk)
    shown = trace(run)
    [step] = shown["steps"]
    [attempt] = step["attempts"]
    letter = DeadLetter.objects.get()
    told = admin_client.get(f"/async/api/dead-letters/{letter.pk}").json()
    [summary] = admin_client.get("/async/api/runs").json()["results"]
    ends = [shown, step, attempt, summary]
    assert [(end["errorCode"], end["causeCode"]) for end in ends] == [
        ("exhausted", "worker-died")
    ] * 4
    assert (told["reason"], told["causeCode"]) == ("exhausted", "worker-died")
    assert (attempt["attempt"], step["deliveries"], told["deliveries"]) == (1, 1, 1)
    for page in (admin_page(run), admin_page(letter)):
        assert "its worker died" in admin_client.get(page).content.decode()


def test_the_next_attempt_has_the_next_number(started, at_work):
    store().close(at_work.worker.sessions[0].lease)
    at_work.worker.sessions[0].forget()
    at_work.worker.sessions.clear()

    again = AtWork("flow-0")
    again.until(lambda: RunningAttempt.objects.exists())
    attempts = trace(run_of(started.pk))["steps"][0]["attempts"]
    for session in again.worker.sessions:
        session.forget()

    assert [(each["attempt"], each["outcome"]) for each in attempts] == [
        (1, "FAILED"),
        (2, "RUNNING"),
    ]


def test_the_log_of_a_cancelled_run_stays_when_the_worker_is_gone(started, at_work):
    engine.cancel(started)

    store().close(at_work.worker.sessions[0].lease)

    assert StepRun.objects.get().outcome == "CANCELLED"


def test_a_time_limit_is_stored_with_log_line_and_function(time_to_tell):
    flow = make_flow(codes=[ENDLESS], max_deliveries=1)
    script = flow.steps.get().script
    script.timeout = timedelta(seconds=1)
    script.save()
    engine.start("flow", {})

    work("flow-0")

    told = StepRun.objects.get()
    assert "time limit of 1 s. It was at line 4 in run()." in told.error
    assert 'File "flow-0", line 4, in run\n    while True: pass' in told.error
    assert json.loads(told.logs)[0]["text"] == "begun 1"


def test_a_short_step_is_never_noted():
    flow = make_flow(codes=[ECHO])
    engine.start("flow", {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningAttempt.objects, "bulk_create", None)
        work_until_idle(flow)

    assert StepRun.objects.get().outcome == "COMPLETED"
