from __future__ import annotations

import json
from typing import Any
from unittest import mock

import jsonschema_rs
import pytest

from flows import engine
from flows.api.openapi.schemas import STARTED_AGAIN
from flows.message.envelope import payload_of, with_payload
from flows.models import AuditEntry, DeadLetter, Flow, Message, Queue, Right, RoleMapping, Run
from flows.models.keep import Keep
from flows.monitoring.trace import trace
from scripts.models import Script
from tests.integration.api.helpers import assert_problem, grant

from .test_dead_letters import make_dead_letter

SENT = b'{"amount": 1.10, "big": 100000000000000000000001}'
SAME = b'{"payload": {"big": 100000000000000000000001, "amount": 1.10}}'


@pytest.fixture
def run(user, flow) -> Run:
    """A finished run whose first input is kept."""
    run_id = engine.start("loan", SENT, user=user).correlation_id
    run = Run.objects.get(pk=run_id)
    engine.cancel(run)
    return run


@pytest.fixture
def caller(client, user, flow):
    for right in (Right.START, Right.WATCH, Right.OPERATE):
        grant(user, right, flow)
    return client


def again(client, run, body=None, **headers):
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body)
    path = f"/async/api/runs/{run.pk}/again"
    return client.post(path, raw, content_type="application/json", headers=headers)


def started(response) -> Run:
    assert response.status_code == 202, response.content
    run = Run.objects.get(pk=response.json()["correlationId"])
    assert response["X-Correlation-Id"] == str(run.pk)
    assert response["Location"] == response.json()["statusUrl"]
    assert run.status == response.json()["status"]
    return run


def message_of(run: Run) -> Message:
    return Message.objects.select_related("step").get(pk=run.pk)


def test_run_starts_anew_with_its_payload_digit_for_digit(caller, user, run):
    response = again(caller, run)

    new = started(response)
    assert response.json()["repeats"] == str(new.repeats) == str(run.pk)
    assert (new.started_by, new.status) == (user, "QUEUED")
    assert message_of(new).body.encode().endswith(b'"payload":' + SENT + b"}")
    shown = caller.get(f"/async/api/runs/{new.pk}").json()
    assert shown["repeats"] == str(run.pk)


def test_another_payload_takes_the_place_of_the_one_that_was_kept(caller, run):
    new = started(again(caller, run, b'{"payload": {"amount": 2.20}}'))

    assert message_of(new).body.endswith('"payload":{"amount": 2.20}}')


def test_integers_that_only_outputs_may_have_come_back(caller, flow):
    big = b'{"amount":1%s}' % (b"0" * 400)
    letter = make_dead_letter("loan")
    DeadLetter.objects.update(body=with_payload(letter.body, big))
    sent = b'{"payload":%s}' % big

    for body in (b'{"fromStep": "step 2"}', sent, sent[:-1] + b',"fromStep": "step 2"}'):
        new = started(again(caller, letter.run, body))
        assert payload_of(message_of(new).body).encode() == big
    address = f"/async/api/dead-letters/{letter.pk}/reprocess"
    assert caller.post(address, sent, content_type="application/json").status_code == 202
    assert payload_of(message_of(letter.run).body).encode() == big


def test_run_starts_anew_from_a_step_with_what_the_step_got(caller, flow):
    failed = make_dead_letter(payload=b'{"amount": 1.10}').run

    new = started(again(caller, failed, {"fromStep": "step 2"}))

    message = message_of(new)
    assert (new.status, message.step.name) == ("RUNNING", "step 2")
    assert [step["status"] for step in trace(new)["steps"]] == ["SKIPPED", "QUEUED"]
    assert message.body.endswith('"payload":{"amount": 1.10}}')


def test_later_step_takes_another_payload_of_any_kind(caller, run):
    new = started(again(caller, run, b'{"payload": [1.10], "fromStep": "step 2"}'))

    assert message_of(new).body.endswith('"payload":[1.10]}')


def test_run_goes_through_the_flow_as_it_is_now(caller, flow, run):
    first = flow.steps.get(position=1)
    flow.steps.filter(position=2).update(position=3)
    flow.steps.filter(pk=first.pk).update(position=2)
    script = Script.objects.create(name="check", code="def run(message, context): return message")
    flow.steps.create(
        position=1, name="check", script=script, queue=Queue.objects.create(name="checks")
    )

    assert message_of(started(again(caller, run))).step.name == "check"
    assert message_of(started(again(caller, run, {"fromStep": "step 1"}))).step.name == "step 1"


def test_it_is_recorded_once_with_what_was_asked_for_and_why(caller, user, run):
    body = {"fromStep": "step 2", "payload": {"amount": 7}, "reason": "the bank lost it"}
    for _ in range(2):
        new = started(again(caller, run, body, **{"Idempotency-Key": "again 1"}))
    other = started(again(caller, run))

    first, second = AuditEntry.objects.filter(verb="start again").order_by("pk")
    assert (first.actor, first.source, first.reason) == (user.username, "api", "the bank lost it")
    assert (first.kind, first.target_id) == ("run", str(run.pk))
    assert first.after == {"new run": str(new.pk), "step": "step 2", "payload": "another one"}
    assert (second.reason, second.after) == ("", {"new run": str(other.pk)})


def test_what_is_refused_is_not_recorded(caller, run):
    Queue.objects.filter(name="loan queue 1").update(size=1)
    engine.start("loan", {})

    assert_problem(again(caller, run), 429, "queue-full")

    assert not AuditEntry.objects.filter(verb="start again").exists()


@pytest.mark.parametrize("body", [None, {"fromStep": "step 2"}])
def test_input_that_is_not_kept_is_409(caller, user, flow, body):
    Flow.objects.update(keep=Keep.NOTHING)
    run = Run.objects.get(pk=engine.start("loan", {}, user=user).correlation_id)
    engine.cancel(run)

    assert_problem(again(caller, run, body), 409, "input-not-kept")
    assert started(again(caller, run, {"payload": {}}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "RUNNING"}, "run-not-finished"),
        ({"status": "QUEUED"}, "run-not-finished"),
    ],
)
def test_run_that_goes_on_is_not_started_anew(caller, run, change, problem):
    Run.objects.filter(pk=run.pk).update(**change)

    assert_problem(again(caller, run), 409, problem)


def test_flow_that_cannot_be_started_is_409(caller, flow, run):
    Flow.objects.update(active=False)

    assert_problem(again(caller, run), 409, "flow-not-runnable")


def test_the_same_key_gives_the_same_new_run(caller, user, run):
    key = {"Idempotency-Key": "again 17"}

    first = again(caller, run, **key)
    engine.cancel(started(first))
    second = again(caller, run, SAME, **key)

    assert (second.status_code, second.json()["status"]) == (202, "CANCELLED")
    assert jsonschema_rs.is_valid(STARTED_AGAIN, second.json())
    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert second.json()["repeats"] == str(run.pk)
    assert first.get("Idempotent-Replayed") is None
    assert second["Idempotent-Replayed"] == "true"
    assert Run.objects.count() == 2
    found = caller.get("/async/api/runs?idempotencyKey=again 17").json()["results"]
    assert [each["correlationId"] for each in found] == [first.json()["correlationId"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda run: Run.objects.filter(pk=run.pk).update(status="RUNNING"),
        lambda run: Flow.objects.update(active=False),
        lambda run: Flow.objects.get().steps.all().delete(),
    ],
    ids=["it goes on", "the flow is not active", "the flow has no steps"],
)
@pytest.mark.parametrize("body", [None, b'{"payload": {"a": 1}}'], ids=["kept", "given"])
def test_the_same_key_gives_the_new_run_whatever_became_of_the_old_one(caller, run, body, change):
    key = {"Idempotency-Key": "again 17"}
    first = again(caller, run, body, **key)
    engine.cancel(started(first))
    change(run)

    second = again(caller, run, body, **key)

    assert second.status_code == 202, second.content
    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert second["Idempotent-Replayed"] == "true"
    assert Run.objects.count() == 2
    assert again(caller, run, body, **{"Idempotency-Key": "another"}).status_code == 409


def test_the_same_key_gives_the_new_run_after_the_flow_was_renamed(caller, flow, run):
    key = {"Idempotency-Key": "again 17"}
    first = again(caller, run, **key)
    flow.name = "credit"
    flow.save()

    second = again(caller, run, **key)

    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert second.json()["flowName"] == "credit"


def test_the_same_key_gives_the_new_run_where_the_payload_is_no_longer_kept(caller, user, run):
    key = {"Idempotency-Key": "again 17"}
    first = again(caller, run, **key)
    other = Run.objects.get(pk=engine.start("loan", SENT, user=user).correlation_id)
    engine.cancel(other)
    Run.objects.update(cancelled_input=None)

    second = again(caller, run, **key)

    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert_problem(again(caller, other, **key), 409, "input-not-kept")
    assert_problem(again(caller, run, b'{"payload": 1}', **key), 409, "idempotency-conflict")


def test_a_key_is_of_no_use_without_the_right_to_start(caller, user, flow, run):
    key = {"Idempotency-Key": "again 17"}
    assert started(again(caller, run, **key))
    RoleMapping.objects.filter(right=Right.START).delete()

    assert again(caller, run, **key).status_code == 403


OTHER_REQUESTS: list[Any] = [b'{"payload": {"amount": 2}}', {"fromStep": "step 1"}]


def test_another_request_with_the_key_is_refused(caller, user, run):
    key = {"Idempotency-Key": "again 17"}
    other = Run.objects.get(pk=engine.start("loan", SENT, user=user).correlation_id)
    engine.cancel(other)
    again(caller, run, **key)

    for body in OTHER_REQUESTS:
        assert_problem(again(caller, run, body, **key), 409, "idempotency-conflict")
    of_other = assert_problem(again(caller, other, **key), 409, "idempotency-conflict")
    assert "what it repeats" in of_other["detail"]
    path = "/async/api/start?flowName=loan"
    start = caller.post(path, SENT, content_type="application/json", headers=key)
    assert_problem(start, 409, "idempotency-conflict")
    assert_problem(again(caller, run, **{"Idempotency-Key": "a,b"}), 400, "header-invalid")
    assert Run.objects.count() == 3


@pytest.mark.parametrize("verb", ["again", "reprocess"])
@pytest.mark.parametrize(("ends", "status"), [(True, 200), (False, 202)])
def test_the_end_is_waited_for(caller, run, verb, ends, status):
    path = f"/async/api/runs/{run.pk}/again"
    if verb == "reprocess":
        path = f"/async/api/dead-letters/{make_dead_letter().pk}/reprocess"
    with mock.patch("flows.api.waiting.wait_until_finished") as waiting:
        if ends:
            waiting.side_effect = lambda run, _: engine.cancel(Run.objects.get(pk=run))
        response = caller.post(f"{path}?wait=20", content_type="application/json")

    assert response.status_code == status, response.content
    document = response.json()
    new = Run.objects.get(pk=document["correlationId"])
    assert ("steps" in document) == ends
    assert document["status"] == new.status
    assert response["X-Correlation-Id"] == str(new.pk)
    assert waiting.call_args.args == (new.pk, 20.0)
    if verb == "again":
        assert document["repeats"] == str(run.pk)


@pytest.mark.parametrize("wait", ["", "-1", "x"])
def test_wrong_wait_starts_nothing(caller, run, wait):
    letter = make_dead_letter()
    for path in (f"runs/{run.pk}/again", f"dead-letters/{letter.pk}/reprocess"):
        response = caller.post(f"/async/api/{path}?wait={wait}", content_type="application/json")
        assert_problem(response, 400, "query-invalid")
    assert Run.objects.count() == 2
    letter.refresh_from_db()
    assert letter.reprocessed_at is None


WRONG_BODIES: list[Any] = [
    b'{"payload": [1]}',
    b'{"payload": null}',
    b'{"fromStep": "nosuch"}',
    b'{"fromStep": ""}',
    b'{"fromStep": 1}',
    b'{"step": "step 1"}',
    b'{"reason": 1}',
    b'{"payload": {"a": NaN}}',
    b'{"payload": {"a": 1, "a": 2}}',
    b"[]",
    b"{",
]


def test_wrong_bodies_are_refused_and_start_nothing(caller, run):
    for body in WRONG_BODIES:
        assert_problem(again(caller, run, body), 400, "payload-invalid")
        assert Run.objects.count() == 1, body


START, WATCH, OPERATE = Right.START, Right.WATCH, Right.OPERATE


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("body", "rights", "status"),
    [
        (None, {START}, 202),
        (None, {WATCH}, 403),
        (None, {OPERATE, WATCH}, 403),
        ({"payload": {}}, {START}, 202),
        ({"fromStep": "step 1"}, {START}, 202),
        # The steps before may be there to refuse it.
        ({"fromStep": "step 2"}, {START}, 403),
        ({"fromStep": "step 2"}, {START, WATCH}, 409),
        ({"fromStep": "step 2"}, {START, OPERATE}, 409),
        ({"fromStep": "step 2", "payload": {}}, {START}, 403),
        ({"fromStep": "step 2", "payload": {}}, {START, WATCH}, 403),
        ({"fromStep": "step 2", "payload": {}}, {START, OPERATE}, 202),
    ],
)
def test_who_may_start_a_run_anew(client, user, flow, run, body, rights, status):
    for right in rights:
        grant(user, right, flow)

    assert again(client, run, body).status_code == status
