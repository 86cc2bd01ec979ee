"""Webhooks: each end of a run is stored for its receivers, and sent until they have it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook

from flows import engine
from flows.configuration.restoring import deleted_flows, restore
from flows.encryption.payload_keys import PayloadKey
from flows.errors import CallbackRefused, IdempotencyConflict
from flows.models import (
    DeadLetter,
    Flow,
    FlowWebhook,
    Run,
    RunCallback,
    RunDeadline,
    WebhookDelivery,
)
from flows.store.telling import flow_webhooks
from flows.tasks.deadlines import cancel_overdue
from flows.tasks.retention import purge
from flows.tasks.webhooks import WebhookWatch
from flows.webhooks.replaying import replay
from flows.webhooks.retries import ATTEMPTS
from flows.webhooks.secrets import replace_secret, secret_of
from flows.webhooks.sender import Sender
from scripts.models.encryption import decrypt
from scripts.services import connections
from tests.builders import ECHO, RAISING, make_flow, run_of, work, work_until_idle
from tests.hosts.outside_calls.helpers import resolver
from tests.integration.webhooks import make_due, send_due, set_webhook
from tests.loopback import serving
from tests.mounting import mount

pytestmark = pytest.mark.django_db

FLOW_URL, CALLBACK = "https://flow.example/hook", "https://caller.example/hook"
FAN_OUT = "def run(message, context):\n    return [{'payload': {'n': n}} for n in range(3)]\n"
ODD_FAILS = (
    "def run(message, context):\n"
    "    if message['payload']['n']:\n"
    "        raise Reject('odd')\n"
    "    return message\n"
)


@pytest.fixture
def receiver():
    with serving() as loopback:
        loopback.answers("/hook", 204)
        yield loopback


def told() -> list[tuple[str, str]]:
    """Return what is stored to be told: the end, and to which receiver."""
    return sorted(WebhookDelivery.objects.values_list("run_status", "kind"))


def start(**options: object) -> Run:
    return run_of(engine.start("flow", {}, **options).correlation_id)


# --- what is stored ----------------------------------------------------------------------------


def completes(flow: Flow) -> None:
    work_until_idle(flow)


def is_cancelled(flow: Flow) -> None:
    engine.cancel(Run.objects.get())


def misses_its_deadline(flow: Flow) -> None:
    passed = timezone.now() - timedelta(seconds=1)
    RunDeadline.objects.update_or_create(run=Run.objects.get(), defaults={"at": passed})
    cancel_overdue()


def test_a_flow_that_is_restored_tells_its_ends_whatever_a_worker_knows_of_it():
    flow = make_flow(codes=[ECHO])
    set_webhook(flow, FLOW_URL)
    engine.start("flow", {})
    flow.delete()
    # From now on this worker knows the step as one of a flow that is gone.
    work("flow-0")
    (record,) = deleted_flows()
    restore(record, User.objects.create_superuser("admin"))
    flow_webhooks.forget()

    run = engine.start("flow", {}).correlation_id
    work("flow-0")
    engine.start("flow", {})
    cancelled = engine.cancel(Run.objects.get(status=Run.Status.QUEUED))

    told = WebhookDelivery.objects.filter(flow=Flow.objects.get().pk)
    assert {each.run_id for each in told} == {run, cancelled.pk}


@pytest.mark.parametrize(
    ("codes", "end", "status"),
    [
        ([ECHO, ECHO], completes, "COMPLETED"),
        ([FAN_OUT, ECHO], completes, "COMPLETED"),
        ([RAISING], completes, "FAILED"),
        ([FAN_OUT, ODD_FAILS], completes, "FAILED"),
        ([ECHO], is_cancelled, "CANCELLED"),
        ([ECHO], misses_its_deadline, "CANCELLED"),
    ],
)
def test_end_is_stored_once_for_each_receiver(codes, end: Callable[[Flow], None], status):
    flow = make_flow(codes=codes, max_deliveries=1)
    set_webhook(flow, FLOW_URL)
    start(callback_url=CALLBACK)

    end(flow)
    end(flow)

    assert told() == [(status, "callback"), (status, "flow")]
    assert Run.objects.get().status == status


def test_run_that_is_repaired_is_told_again():
    flow = make_flow(codes=[RAISING], max_deliveries=1)
    run = start(callback_url=CALLBACK)
    work("flow-0")
    script = flow.steps.get().script
    script.code = ECHO
    script.save()

    engine.reprocess(DeadLetter.objects.get(), newest_script=True)
    work("flow-0")

    assert told() == [("COMPLETED", "callback"), ("FAILED", "callback")]
    assert WebhookDelivery.objects.filter(run=run.pk).count() == 2


def test_run_that_completes_when_a_dead_branch_is_discarded_is_told():
    flow = make_flow(codes=[FAN_OUT, ODD_FAILS])
    start(callback_url=CALLBACK)
    work_until_idle(flow)
    repaired, discarded = DeadLetter.objects.open()
    engine.reprocess(repaired, payload=b'{"n": 0}')
    work_until_idle(flow)

    engine.discard(discarded)

    assert told() == [("COMPLETED", "callback"), ("FAILED", "callback")]


def test_run_without_receivers_stores_and_asks_nothing(monkeypatch):
    monkeypatch.setattr("flows.store.telling.KEPT_SECONDS", 3600.0)
    make_flow(codes=[ECHO])
    start()
    work("flow-0")

    with CaptureQueriesContext(connection) as queries:
        start()
        work("flow-0")

    assert not [each for each in queries if re.search("webhook|callback", each["sql"])]
    assert not WebhookDelivery.objects.exists()


def test_id_that_looks_like_one_with_a_callback_is_told_to_no_one(monkeypatch):
    make_flow(codes=[ECHO])
    id = UUID("01900000-0000-7000-8000-00000000ca11")
    monkeypatch.setattr("flows.starts.new_run.uuid7", lambda: id)
    start()

    work("flow-0")

    assert run_of(id).status == Run.Status.COMPLETED
    assert told() == []


def test_callback_makes_a_start_another_one():
    make_flow(codes=[ECHO])
    first = engine.start("flow", {}, idempotency_key="k", callback_url=CALLBACK)

    again = engine.start("flow", {}, idempotency_key="k", callback_url=CALLBACK)

    assert (again.repeated, again.correlation_id) == (True, first.correlation_id)
    for other in (None, FLOW_URL):
        with pytest.raises(IdempotencyConflict):
            engine.start("flow", {}, idempotency_key="k", callback_url=other)
    assert RunCallback.objects.count() == 1


def test_private_callback_is_refused_unless_the_flow_grants_it(receiver):
    flow = make_flow(codes=[ECHO])

    with pytest.raises(CallbackRefused):
        start(callback_url=receiver.url("/hook"))
    set_webhook(flow, "", private=True)
    start(callback_url=receiver.url("/hook"))

    assert Run.objects.count() == 1


# --- what is sent ------------------------------------------------------------------------------


def ended(receiver, path: str = "/hook", **options: object) -> WebhookDelivery:
    """Return the delivery of a run that has completed, to a path of the receiver."""
    if not Flow.objects.exists():
        make_flow(codes=[ECHO])
    set_webhook(Flow.objects.get(), receiver.url(path))
    run = start(**options)
    work("flow-0")
    return WebhookDelivery.objects.get(run=run.pk)


def test_receiver_gets_a_signed_body_without_the_payload(receiver):
    delivery = ended(receiver, labels={"order": "4711"})

    assert send_due() == 1

    [request] = receiver.received
    secret = secret_of(Flow.objects.get())
    document = Webhook(secret).verify(request.body, request.headers)
    run = Run.objects.get()
    assert document["type"] == "run.completed"
    data = document["data"]
    assert data.pop("createdAt") < data.pop("finishedAt") == document["timestamp"]
    assert data == {
        "correlationId": str(run.pk),
        "flowName": "flow",
        "status": "COMPLETED",
        "errorCode": None,
        "causeCode": None,
        "labels": {"order": "4711"},
        "statusUrl": f"/async/api/runs/{run.pk}",
    }
    assert request.headers["webhook-id"] == str(delivery.pk)
    assert request.headers["content-type"] == "application/json"
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.answer_status) == ("delivered", 1, 204)
    assert send_due() == 0


@pytest.mark.parametrize(
    ("status", "headers", "error", "least"),
    [
        (500, {}, "It answered 500.", 4),
        (404, {}, "It answered 404.", 4),
        (302, {"Location": "/hook"}, "It answered 302: redirects are not followed.", 4),
        (429, {"Retry_After": "600"}, "It answered 429.", 600),
        (503, {"Retry_After": "99999"}, "It answered 503.", 3600),
        (500, {"Retry_After": "600"}, "It answered 500.", 4),
    ],
)
def test_failure_is_shown_and_tried_again_later_with_the_same_id(
    receiver, status, headers, error, least
):
    receiver.answers("/bad", status, b"what is wrong\0", **headers)
    delivery = ended(receiver, "/bad")
    begun = timezone.now()

    send_due()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.error, delivery.answer_status) == ("pending", error, status)
    assert delivery.answer == "what is wrong\N{REPLACEMENT CHARACTER}"
    # Counted from the attempt, which lies between these two moments.
    assert delivery.next_attempt_at >= begun + timedelta(seconds=least)
    assert delivery.next_attempt_at <= timezone.now() + timedelta(seconds=least + 30)
    make_due()
    receiver.answers("/bad", 200)
    send_due()
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    assert WebhookDelivery.objects.get().status == "delivered"


def test_delivery_is_given_up_after_its_last_attempt_and_sent_again_on_demand(receiver):
    receiver.answers("/bad", 500)
    delivery = ended(receiver, "/bad")
    for _ in range(ATTEMPTS):
        make_due()
        assert send_due() == 1

    delivery.refresh_from_db()
    assert (delivery.status, delivery.next_attempt_at) == ("failed", None)

    receiver.answers("/bad", 200)
    replay(delivery)
    send_due()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == ("delivered", "")
    assert {each.headers["webhook-id"] for each in receiver.received} == {str(delivery.pk)}


def test_410_ends_a_delivery_and_turns_the_webhook_off_until_its_address_changes(receiver):
    receiver.answers("/gone", 410)
    first = ended(receiver, "/gone")
    waiting = WebhookDelivery.objects.get()
    waiting.pk, waiting.next_attempt_at = Run.objects.get().pk, timezone.now()
    waiting.save(force_insert=True)

    assert send_due() == 2

    assert len(receiver.received) == 1
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"failed"}
    assert FlowWebhook.objects.get().gone_url == receiver.url("/gone")
    start()
    work("flow-0")
    assert WebhookDelivery.objects.count() == 2
    assert ended(receiver, "/hook").pk != first.pk
    send_due()
    assert receiver.received[-1].path == "/hook"


def test_410_of_a_callback_ends_that_delivery_alone(receiver):
    receiver.answers("/gone", 410)
    set_webhook(make_flow(codes=[ECHO]), "")
    start(callback_url=receiver.url("/gone"))
    start(callback_url=receiver.url("/hook"))
    work("flow-0")

    send_due()

    statuses = dict(WebhookDelivery.objects.values_list("url", "status"))
    assert statuses == {receiver.url("/gone"): "failed", receiver.url("/hook"): "delivered"}
    assert FlowWebhook.objects.get().gone_url == ""


def test_name_that_moves_to_a_private_address_is_not_called(receiver, monkeypatch):
    monkeypatch.setattr(connections, "is_public", lambda address: str(address) == "127.0.0.1")
    resolver(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
    flow = make_flow(codes=[ECHO])
    set_webhook(flow, receiver.url("/hook", host="shop.example"), private=False)
    start()
    work("flow-0")

    send_due()

    assert receiver.received == []
    delivery = WebhookDelivery.objects.get()
    assert "is at a private address now" in delivery.error
    make_due()
    send_due()
    assert [each.server_address for each in receiver.received] == ["127.0.0.1"]
    assert receiver.received[0].headers["host"] == f"shop.example:{receiver.port}"


def test_receiver_that_does_not_answer_in_time_is_tried_again(receiver, monkeypatch):
    monkeypatch.setattr("flows.webhooks.exchange.SECONDS", 0.2)
    receiver.pages["/slow"] = lambda handler: handler.loopback.closing.wait()
    ended(receiver, "/slow")

    send_due()

    delivery = WebhookDelivery.objects.get()
    assert delivery.error == f"127.0.0.1:{receiver.port} did not answer within 0.2 seconds."
    assert (delivery.status, delivery.answer_status) == ("pending", None)


def test_delivery_whose_sender_was_killed_is_taken_after_its_time(receiver, monkeypatch):
    delivery = ended(receiver)
    monkeypatch.setattr("flows.webhooks.sender.attempt", lambda delivery, until: None)
    assert send_due() == 1
    monkeypatch.undo()

    assert send_due() == 0
    make_due()
    assert send_due() == 1

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("delivered", 2)


def test_delivery_whose_body_cannot_be_read_waits_for_its_key_and_keeps_no_other(
    receiver, settings
):
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    settings.ASYNCENGINE_PAYLOAD_KEYS = keys[:1]
    receiver.answers("/hook", 500)
    delivery = ended(receiver)
    send_due()
    receiver.answers("/hook", 204)
    settings.ASYNCENGINE_PAYLOAD_KEYS = keys[1:]
    other = ended(receiver)
    make_due()

    assert send_due() == 2

    delivery.refresh_from_db(fields=["status", "error"])
    assert (delivery.status, PayloadKey(keys[0]).id in delivery.error) == ("pending", True)
    other.refresh_from_db()
    assert other.status == "delivered"
    settings.ASYNCENGINE_PAYLOAD_KEYS = keys
    make_due()
    assert send_due() == 1
    assert len({request.body for request in receiver.received}) == 2


def test_both_secrets_sign_while_one_is_replaced_and_are_encrypted_again(receiver, settings):
    ended(receiver)
    flow = Flow.objects.get()
    old = secret_of(flow)
    replace_secret(flow, None)
    new = secret_of(flow)

    send_due()

    [request] = receiver.received
    for secret in (old, new):
        Webhook(secret).verify(request.body, request.headers)
    newest = "b" * 43 + "="
    settings.ASYNCENGINE_SECRETS_KEYS = [newest, *settings.ASYNCENGINE_SECRETS_KEYS]
    call_command("rotate_secrets")
    settings.ASYNCENGINE_SECRETS_KEYS = [newest]
    row = FlowWebhook.objects.get()
    assert (decrypt(row.encrypted), decrypt(row.previous_encrypted)) == (new, old)


def test_secret_before_signs_for_a_day(receiver):
    ended(receiver)
    flow = Flow.objects.get()
    old = secret_of(flow)
    replace_secret(flow, None)
    FlowWebhook.objects.update(rotated_at=timezone.now() - timedelta(days=1, minutes=1))

    send_due()

    [request] = receiver.received
    assert " " not in request.headers["webhook-signature"]
    assert Webhook(secret_of(flow)).verify(request.body, request.headers)
    assert secret_of(flow) != old


@pytest.mark.parametrize("change", ["no webhook", "no flow"])
def test_what_can_never_be_sent_is_ended_with_the_reason(receiver, change):
    ended(receiver)
    if change == "no webhook":
        set_webhook(Flow.objects.get(), "")
    else:
        Flow.objects.get().delete()

    send_due()

    delivery = WebhookDelivery.objects.get()
    assert delivery.status == "failed"
    assert delivery.error.startswith("The flow ")
    assert receiver.received == []


def test_slow_receivers_of_flows_leave_threads_to_others(monkeypatch):
    class Stuck:
        def submit(self, *arguments: object) -> None:
            """Never ends."""

    for name in ("slow", "quick"):
        set_webhook(make_flow(name, codes=[ECHO]), FLOW_URL)
    for name, count in (("slow", 20), ("quick", 2)):
        for _ in range(count):
            engine.cancel(run_of(engine.start(name, {}).correlation_id))
    sender = Sender(threads=8)
    sender._pool = Stuck()  # type: ignore[assignment]

    taken = sum(sender.send_next() for _ in range(22))

    busy = dict(sender._busy)
    flows = dict(Flow.objects.values_list("name", "pk"))
    assert taken == sum(busy.values()) < 8
    assert busy[flows["quick"]] >= 1


def test_broker_queues_a_task_when_a_delivery_is_due(receiver):
    watch = WebhookWatch()
    assert not watch.look()

    ended(receiver)

    assert watch.look()
    assert not watch.look()


def test_run_is_purged_with_its_deliveries_once_they_are_over(receiver):
    receiver.answers("/bad", 500)
    ended(receiver, "/bad", callback_url=None)
    send_due()
    later = timezone.now() + timedelta(days=40)

    purge(later)
    assert Run.objects.count() == 1

    WebhookDelivery.objects.update(status="failed", next_attempt_at=None)
    purge(later)
    assert [Run.objects.count(), WebhookDelivery.objects.count()] == [0, 0]


def test_address_of_the_run_is_whole_where_the_installation_knows_its_own(receiver, monkeypatch):
    monkeypatch.setattr(settings, "ASYNCENGINE_URL", "https://engine.example.org")
    delivery = ended(receiver)

    send_due()

    data = json.loads(receiver.received[0].body)["data"]
    url = f"https://engine.example.org/async/api/runs/{delivery.run_id}"
    assert data["statusUrl"] == url


@pytest.mark.parametrize(
    ("url", "root"), [("", "/engine"), ("https://shop.example.org/engine",) * 2]
)
def test_address_of_the_run_is_below_the_include_of_a_project(receiver, settings, url, root):
    mount(settings, url)
    delivery = ended(receiver)

    send_due()

    data = json.loads(receiver.received[0].body)["data"]
    assert data["statusUrl"] == f"{root}/async/api/runs/{delivery.run_id}"
