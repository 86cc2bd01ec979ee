"""Alerts: told once, together, in time, and when they have ended; their addresses stay secret."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django_q.models import OrmQ

from flows import engine
from flows.alerts.delivering import send_test
from flows.alerts.sending import NotSent
from flows.models import (
    Alert,
    AlertNotice,
    AlertsClock,
    AlertTarget,
    AlertTargetState,
    AuditEntry,
    Queue,
)
from flows.tasks import alerts
from flows.tasks.alerts import AlertWatch, evaluate
from scripts.models import Secret
from tests.builders import make_flow
from tests.loopback import Loopback, serving
from tests.side_by_side import at_the_same_time, side_by_side

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
TOKEN = "s3cr3t-t0k3n"


@pytest.fixture
def receiver():
    with serving() as loopback:
        loopback.answers(f"/{TOKEN}", 200)
        yield loopback


def make_target(receiver: Loopback, name: str = "team", **fields: Any) -> AlertTarget:
    """Make a target that is told of full queues alone: nothing else is sure in a test."""
    target = AlertTarget(name=name, **({"rules": ["queue-full"]} | fields))
    target.set_url(receiver.url(f"/{TOKEN}", scheme="json"))
    target.save()
    return target


def fill(name: str = "orders") -> None:
    make_flow(name)
    engine.start(name, b"{}")
    Queue.objects.update(size=1)


def pass_time(time: timedelta = MINUTE) -> None:
    """Let what was stored be older."""
    AlertsClock.objects.update(evaluated_at=F("evaluated_at") - time)
    AlertNotice.objects.update(told_at=F("told_at") - time)
    AlertTargetState.objects.update(
        sent_at=F("sent_at") - time, taken_until=F("taken_until") - time
    )


def titles(receiver: Loopback) -> list[str]:
    return [json.loads(each.body)["title"] for each in receiver.received]


def test_an_alert_is_told_once_and_its_end_once(receiver):
    target = make_target(receiver)
    fill()

    sent = [evaluate(), evaluate()]
    pass_time(10 * MINUTE)
    sent.append(evaluate())
    Queue.objects.update(size=100)
    pass_time(10 * MINUTE)
    sent += [evaluate(), evaluate()]

    assert sent == [1, 0, 0, 1, 0]
    begun, ended = titles(receiver)
    assert "is full" in begun
    assert "Ended: " in ended
    alert = Alert.objects.get(rule="queue-full")
    assert alert.ended_at is not None
    assert json.loads(receiver.received[0].body)["type"] == "failure"
    assert AlertTargetState.objects.get(pk=target.pk).taken_until is None


def test_what_happens_in_the_quiet_time_comes_together(receiver):
    make_target(receiver, quiet_time=30 * MINUTE)
    fill()
    evaluate()
    fill("bills")
    fill("parcels")
    pass_time()
    assert evaluate() == 0

    pass_time(30 * MINUTE)
    assert evaluate() == 1

    assert len(receiver.received) == 2
    assert titles(receiver)[1].endswith("(and 1 more)")


@side_by_side
@pytest.mark.django_db(transaction=True)
def test_an_alert_is_sent_once_by_several_clusters_at_a_time(receiver):
    make_target(receiver)
    fill()

    assert at_the_same_time(*[evaluate] * 4) == []

    assert len(receiver.received) == 1
    assert Alert.objects.filter(rule="queue-full").count() == 1


def test_a_receiver_that_fails_is_told_later_and_its_address_stays_secret(receiver, caplog):
    target = make_target(receiver)
    fill()
    receiver.answers(f"/{TOKEN}", 503)

    assert (evaluate(), evaluate()) == (0, 0)
    state = AlertTargetState.objects.get(pk=target.pk)
    assert (state.failures, len(receiver.received)) == (1, 1)
    receiver.answers(f"/{TOKEN}", 200)
    pass_time(2 * MINUTE)
    assert evaluate() == 1

    assert "503" in state.error
    assert TOKEN not in state.error + caplog.text
    assert AlertTargetState.objects.get(pk=target.pk).error == ""


def test_the_command_tells_where_no_worker_is_left(receiver, capsys):
    make_target(receiver, rules=["workers-gone"])

    call_command("alerts")

    assert "No worker is running." in titles(receiver)[0]
    assert capsys.readouterr().out.endswith("Messages sent: 1\n")


def test_the_command_prints_what_began_since_the_rules_were_applied(receiver, capsys):
    evaluate()
    fill()

    call_command("alerts")

    assert "full" in capsys.readouterr().out


def test_an_inactive_target_gets_nothing_and_one_of_another_key_says_so(receiver, settings):
    make_target(receiver, "off", active=False)
    lost = make_target(receiver, "lost")
    settings.ASYNCENGINE_SECRETS_KEYS = ["x" * 43 + "="]
    fill()

    assert evaluate() == 0

    assert receiver.received == []
    assert "cannot be decrypted" in AlertTargetState.objects.get(pk=lost.pk).error


def test_a_test_message_is_sent_and_recorded_and_a_failure_is_raised(receiver):
    target = make_target(receiver)

    send_test(target)
    receiver.answers(f"/{TOKEN}", 500)
    with pytest.raises(NotSent, match="500"):
        send_test(target)

    assert titles(receiver)[0] == "[Async Engine] Test"
    assert AuditEntry.objects.filter(verb="send a test alert").count() == 2


def make_secret(value: str) -> Secret:
    secret = Secret.objects.filter(name="TEAM").first() or Secret(name="TEAM")
    secret.set_value(value)
    secret.save()
    return secret


def test_an_address_that_is_a_secrets_value_follows_the_secret(receiver):
    make_secret(receiver.url(f"/{TOKEN}", scheme="json") + "\n")
    target = AlertTarget(name="team", rules=["queue-full"])
    target.set_secret("TEAM")
    target.save()

    send_test(target)
    receiver.answers("/other", 200)
    make_secret(receiver.url("/other", scheme="json"))
    send_test(target)
    call_command("rotate_secrets", verbosity=0)
    send_test(target)

    assert [each.path for each in receiver.received] == [f"/{TOKEN}", "/other", "/other"]
    noted = AuditEntry.objects.get(verb="add", name="team")
    assert (noted.after or {})["address_secret"] == "TEAM"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "The secret TEAM, which has its address, is missing."),
        ("swordfish", "The secret TEAM is no address: Apprise does not know"),
        (f"slack://[{TOKEN}]/x", "The secret TEAM is no address: It is no address."),
        (f"json://hooks.example.org?template=/etc/{TOKEN}", "cannot name files"),
    ],
)
def test_a_secret_that_is_no_address_sends_nothing_and_says_so(value, said):
    if value is not None:
        make_secret(value)
    target = AlertTarget(name="team")
    target.set_secret("TEAM")
    target.save()

    with pytest.raises(NotSent) as refused:
        send_test(target)
    fill()
    evaluate()

    assert said in str(refused.value)
    assert value is None or value not in str(refused.value)
    assert said in AlertTargetState.objects.get(pk=target.pk).error


def test_a_target_without_an_address_sends_nothing_and_says_so():
    target = AlertTarget(name="team")
    target.set_secret("")
    target.save()

    with pytest.raises(NotSent, match="It has no address"):
        send_test(target)


def test_the_address_is_stored_encrypted_masked_in_the_audit_log_and_rotated(receiver):
    target = make_target(receiver)
    before = target.encrypted

    call_command("rotate_secrets", verbosity=0)

    row = AlertTarget.objects.get(pk=target.pk)
    assert row.encrypted != before
    assert TOKEN in row.value()
    shown = [*AuditEntry.objects.values(), *AlertTarget.history.values()]
    assert not [each for each in shown if TOKEN in str(each) or before in str(each)]
    assert row.scheme == "json"


def test_a_cluster_queues_the_task_only_where_there_is_a_target_and_the_rules_are_due(
    receiver, monkeypatch
):
    monkeypatch.setattr(alerts, "LOOK_SECONDS", 0.0)
    watch = AlertWatch()
    looked = [watch.look()]
    target = make_target(receiver)
    looked.append(watch.look())
    evaluate()
    looked.append(watch.look())
    pass_time()
    looked.append(watch.look())
    AlertTarget.objects.filter(pk=target.pk).delete()
    looked.append(watch.look())

    assert looked[:4] == [False, True, False, True]
    # What fires without workers has to end.
    assert looked[4] is Alert.objects.firing().exists()
    assert OrmQ.objects.count() >= 2
