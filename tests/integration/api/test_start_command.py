from __future__ import annotations

import io
import json
from datetime import datetime
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from flows import engine
from flows.errors import CommitInDoubt
from flows.models import Message, Queue, Run, RunCallback, RunDeadline, RunningAttempt
from tests.integration.api.helpers import make_loan_flow


def start(*args, **options) -> str:
    out = io.StringIO()
    call_command("start", *args, stdout=out, **options)
    return out.getvalue()


def test_correlation_id_is_printed(flow):
    printed = start("loan", "--payload", '{"amount": 5}')

    assert printed == f"{Run.objects.get().pk}\n"
    assert '"payload":{"amount": 5}' in Message.objects.get().body


def test_payload_is_an_empty_object_where_none_is_given(flow):
    start("loan")

    assert '"payload":{}' in Message.objects.get().body


def test_payload_is_read_from_a_file(flow, tmp_path):
    file = tmp_path / "payload.json"
    file.write_text('{\n  "amount": 5\n}\n')

    start("loan", "--payload", f"@{file}")

    assert json.loads(Message.objects.get().body)["payload"] == {"amount": 5}


@pytest.mark.parametrize("text", ['[{"n": 1}, {"n": 2}]', '{"n": 1}\n\n{"n": 2}\n'])
def test_array_and_lines_start_a_run_for_each_element(flow, monkeypatch, text):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))

    printed = start("loan", "--payload", "-")

    assert len(set(printed.split())) == 2
    payloads = [
        json.loads(body)["payload"] for body in Message.objects.values_list("body", flat=True)
    ]
    assert sorted(payload["n"] for payload in payloads) == [1, 2]


def test_elements_of_an_array_travel_as_they_are_written(flow, tmp_path):
    file = tmp_path / "payloads.json"
    file.write_text('[{"n": 1.10, "h": 12345678901234567890123}, {"n": -0}]')

    start("loan", "--payload", f"@{file}")

    bodies = "".join(Message.objects.values_list("body", flat=True))
    assert '{"n": 1.10, "h": 12345678901234567890123}' in bodies
    assert '{"n": -0}' in bodies


def test_elements_are_started_in_chunks_and_those_left_are_named(flow, tmp_path):
    Queue.objects.filter(name="loan queue 1").update(size=1000)
    file = tmp_path / "payloads.json"
    file.write_text(json.dumps([{"n": n} for n in range(1200)]))
    out = io.StringIO()

    with pytest.raises(CommandError, match="Payloads 1001 to 1200 of 1200 were not started"):
        call_command("start", "loan", "--payload", f"@{file}", stdout=out)

    assert len(out.getvalue().split()) == Run.objects.count() == 1000


def test_who_waits_is_told_what_was_started_though_not_all_was(flow, tmp_path):
    Queue.objects.filter(name="loan queue 1").update(size=500)
    file = tmp_path / "payloads.json"
    file.write_text(json.dumps([{"n": n} for n in range(501)]))
    out, err = io.StringIO(), io.StringIO()

    with pytest.raises(CommandError, match="Payloads 501 to 501 of 501 were not started"):
        call_command("start", "loan", "--payload", f"@{file}", wait=1, stdout=out, stderr=err)

    told = {line.removeprefix("Started: ") for line in err.getvalue().splitlines()}
    assert told == {str(pk) for pk in Run.objects.values_list("pk", flat=True)}
    assert len(told) == 500
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (OperationalError("gone"), "Payloads 501 to 501 of 501 were not started"),
        (CommitInDoubt("gone"), "Payloads 501 to 501 of 501 may have been started"),
    ],
    ids=["lost", "in doubt"],
)
def test_who_waits_is_told_what_was_started_before_the_database_was_lost(
    flow, tmp_path, monkeypatch, fault, left
):
    Queue.objects.filter(name="loan queue 1").update(size=1000)
    file = tmp_path / "payloads.json"
    file.write_text(json.dumps([{"n": n} for n in range(501)]))
    out, err = io.StringIO(), io.StringIO()
    start_many = engine.start_many

    def lost_behind_the_first(*args, **options):
        if Run.objects.exists():
            raise fault
        return start_many(*args, **options)

    monkeypatch.setattr(engine, "start_many", lost_behind_the_first)
    with pytest.raises(CommandError, match=left):
        call_command(
            "start", "loan", "--payload", f"@{file}", "--wait", "0", stdout=out, stderr=err
        )

    assert out.getvalue() == ""
    assert err.getvalue().count("Started: ") == Run.objects.count() == 500


def test_key_goes_with_a_single_payload(flow, tmp_path):
    file = tmp_path / "payloads.json"
    file.write_text("[{}]")

    assert start("loan", idempotency_key="k") == start("loan", idempotency_key="k")
    with pytest.raises(CommandError, match="single payload"):
        start("loan", "--payload", f"@{file}", idempotency_key="k")


@pytest.mark.parametrize("payload", ["{}", "@FILE"])
def test_each_run_gets_the_labels_and_the_deadline(flow, tmp_path, payload):
    file = tmp_path / "payloads.json"
    file.write_text("[{}, {}]")
    at = "2090-01-01T00:00:00Z"

    printed = start(
        *("loan", "--payload", payload.replace("FILE", str(file))),
        *("--label", "order:47:11", "--label", "shop:A", "--deadline", at),
        *("--callback-url", "https://shop.example.org/hook"),
    )

    for id in printed.split():
        labels = Run.objects.get(pk=UUID(id)).labels.all()
        assert [str(label) for label in labels] == ["order:47:11", "shop:A"]
        assert RunDeadline.objects.get(pk=UUID(id)).at == datetime.fromisoformat(at)
        assert RunCallback.objects.get(run=UUID(id)).url == "https://shop.example.org/hook"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["unknown"], "There is no flow"),
        (["loan", "--payload", "{"], "not valid JSON"),
        (["loan", "--payload", "[]"], "must be a JSON object"),
        (["loan", "--payload", "@/no/such/file"], "Cannot read /no/such/file"),
        (["loan", "--payload", '{"amount": "x"}'], r"\$\.amount"),
        (["loan", "--label", "order"], "--label: must be key:value"),
        (["loan", "--label", "a:1", "--label", "a:2"], "--label: the key 'a' is given more"),
        (["loan", "--deadline", "soon"], "Z, or a number of seconds from now, as in 300."),
        (["loan", "--callback-url", "here"], "--callback-url must begin with https://"),
        (["loan", "--deadline", "0"], "deadline: must be later than the start"),
    ],
)
def test_refusals_are_explained(db, args, message):
    make_loan_flow(schema={"properties": {"amount": {"type": "integer"}}})

    with pytest.raises(CommandError, match=message):
        start(*args)


def test_finished_run_is_printed_as_json(flow, monkeypatch):
    finish_when_waited_for(monkeypatch, "COMPLETED", result='{"n":12345678901234567890123}')

    document = json.loads(start("loan", "--wait", "5"))

    assert document["status"] == "COMPLETED"
    assert document["result"] == {"n": 12345678901234567890123}


def test_progress_is_printed_beside_the_run_while_it_is_waited_for(flow, monkeypatch):
    out, err = io.StringIO(), io.StringIO()

    def sleep(seconds):
        if RunningAttempt.objects.exists():
            Message.objects.all()._raw_delete("default")
            Run.objects.update(status="COMPLETED", result="1")
            return
        Message.objects.update(consumer_id=7, queue=None)
        RunningAttempt.objects.create(
            message_id=Message.objects.get().pk,
            consumer_id=7,
            delivery=1,
            started_at=timezone.now(),
            progress='{"done": 30, "total": 120, "text": "rows", "at": 1}',
        )

    monkeypatch.setattr("flows.monitoring.progress.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("flows.monitoring.trace.time.sleep", sleep)

    call_command("start", "loan", "--wait", "60", stdout=out, stderr=err)

    assert err.getvalue() == "step 1: 30 of 120 (25 %): rows\n"
    assert json.loads(out.getvalue())["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--wait", "-1"),
        ("--wait", "nan"),
        ("--wait", "inf"),
        ("--idempotency-key", ""),
        ("--idempotency-key", "x" * 256),
        ("--idempotency-key", "tab\t"),
        ("--idempotency-key", "a,b"),
    ],
)
def test_option_that_is_not_understood_starts_nothing(flow, option, value):
    with pytest.raises(CommandError, match=option):
        start("loan", f"{option}={value}")

    assert not Run.objects.exists()


def test_failed_run_is_printed_and_fails_the_command(flow, monkeypatch):
    finish_when_waited_for(monkeypatch, "FAILED", error="boom")
    out = io.StringIO()

    with pytest.raises(CommandError, match="1 of 1 runs failed"):
        call_command("start", "loan", "--wait", "5", stdout=out)

    assert json.loads(out.getvalue())["error"] == "boom"


def test_cancelled_run_is_printed_and_fails_the_command(flow, monkeypatch):
    finish_when_waited_for(monkeypatch, "CANCELLED", error="too late")
    out = io.StringIO()

    with pytest.raises(CommandError, match="1 of 1 runs were cancelled"):
        call_command("start", "loan", "--wait", "5", stdout=out)

    assert json.loads(out.getvalue())["error"] == "too late"


def test_run_that_does_not_end_in_time_fails_the_command(flow):
    with pytest.raises(CommandError, match=r"not finished in 0.05 s"):
        start("loan", "--wait", "0.05")


def finish_when_waited_for(monkeypatch, status, **fields):
    def sleep(seconds):
        Message.objects.all()._raw_delete("default")
        Run.objects.update(status=status, **fields)

    monkeypatch.setattr("flows.monitoring.trace.time.sleep", sleep)
