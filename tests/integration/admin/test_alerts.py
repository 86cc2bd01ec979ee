"""Targets of alerts are made, tested and changed, and their addresses never come back."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from flows.models import Alert, AlertTarget, AuditEntry
from scripts.models import Secret
from tests.integration.admin.conftest import keys_of
from tests.integration.admin.pages import answer_dialog, form_data
from tests.loopback import serving

ADD = reverse("admin:flows_alerttarget_add")
LIST = reverse("admin:flows_alerttarget_changelist")
TOKEN = "s3cr3t-t0k3n"


@pytest.mark.long
@pytest.mark.django_db
def test_a_target_is_made_told_a_test_and_changed_without_its_address(client):
    with serving() as receiver:
        receiver.answers(f"/{TOKEN}", 200)
        url = receiver.url(f"/{TOKEN}", scheme="json")
        data = form_data(client.get(ADD)) | {"name": "team", "rules": ["queue-full"]}

        refused = client.post(ADD, data | {"url": f"nonsense://{TOKEN}"})
        assert client.post(ADD, data | {"url": url}).status_code == 302
        target = AlertTarget.objects.get()
        page = reverse("admin:flows_alerttarget_change", args=[target.pk])
        test = reverse("admin:flows_alerttarget_send_test", args=[target.pk])
        tested = answer_dialog(client, test)
        told = json.loads(receiver.received[0].body)
        receiver.answers(f"/{TOKEN}", 500)
        shown = answer_dialog(client, test).content.decode()
        changed = form_data(client.get(page)) | {"quiet_time": "1 h", "url": ""}
        assert client.post(page, changed).status_code == 302

    history = client.get(reverse("admin:flows_alerttarget_history", args=[target.pk]))
    everywhere = refused.content.decode() + shown + history.content.decode()
    everywhere += client.get(LIST).content.decode()
    target.refresh_from_db()
    assert "url" in refused.context["adminform"].form.errors
    assert "The test was sent." in tested.content.decode()
    assert told["title"] == "[Async Engine] Test"
    assert "It was not sent" in shown
    assert target.value() == url
    assert target.quiet_time.total_seconds() == 3600
    assert TOKEN not in everywhere
    assert target.encrypted not in everywhere
    verbs = AuditEntry.objects.filter(name="team").values_list("verb", flat=True)
    assert sorted(verbs) == ["add", "change", "send a test alert", "send a test alert"]


def test_a_target_takes_its_address_from_a_secret_or_is_refused(client):
    Secret(name="TEAM", encrypted="x", changed_at=timezone.now()).save()
    data = form_data(client.get(ADD)) | {"name": "team"}
    own = {"url": "jsons://hooks.example.org/"}

    def errors(values: dict[str, str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = (
            client.post(ADD, data | values).context["adminform"].form.errors
        )
        return found

    assert "Enter an address, or choose a secret" in errors({})["url"][0]
    assert "not both" in errors(own | {"address_secret": "TEAM"})["address_secret"][0]
    assert "address_secret" in errors({"address_secret": "GONE"})
    assert client.post(ADD, data | {"address_secret": "TEAM"}).status_code == 302
    target = AlertTarget.objects.get()
    assert (target.address_secret, target.encrypted) == ("TEAM", "")
    assert "of the secret TEAM" in client.get(LIST).content.decode()
    page = reverse("admin:flows_alerttarget_change", args=[target.pk])
    assert client.post(page, form_data(client.get(page))).status_code == 302
    assert client.post(page, form_data(client.get(page)) | own).status_code == 302
    target.refresh_from_db()
    assert (target.address_secret, target.value()) == ("", own["url"])
    assert client.post(page, form_data(client.get(page)) | {"quiet_time": "1 h"}).status_code == 302
    target.refresh_from_db()
    assert (target.address_secret, target.value()) == ("", own["url"])


def test_a_secret_is_chosen_with_the_permission_to_use_secrets_alone(staff_client):
    Secret(name="TEAM", encrypted="x", changed_at=timezone.now()).save()
    rights = ("flows.add_alerttarget", "flows.view_alerttarget", "scripts.view_secret")
    client = staff_client(*rights)
    data = form_data(client.get(ADD)) | {"name": "team", "address_secret": "TEAM"}

    refused = client.post(ADD, data)
    User.objects.get(username="staff").user_permissions.add(*keys_of(("scripts.use_secrets",)))
    accepted = client.post(ADD, data)

    assert "scripts.use_secrets" in str(refused.context["adminform"].form.errors)
    assert accepted.status_code == 302


def test_a_user_who_may_not_see_secrets_is_offered_the_present_one_alone(staff_client):
    for name in ("TEAM", "OTHER"):
        Secret(name=name, encrypted="x", changed_at=timezone.now()).save()
    target = AlertTarget(name="team")
    target.set_secret("TEAM")
    target.save()
    page = reverse("admin:flows_alerttarget_change", args=[target.pk])
    client = staff_client("flows.change_alerttarget")

    def offered() -> list[str]:
        field = client.get(page).context["adminform"].form.fields["address_secret"]
        return [name for name, _ in field.choices]

    unseen = offered()
    kept = client.post(page, form_data(client.get(page)) | {"quiet_time": "1 h"})
    refused = client.post(page, form_data(client.get(page)) | {"address_secret": "OTHER"})
    User.objects.get(username="staff").user_permissions.add(*keys_of(("scripts.view_secret",)))

    assert (unseen, offered()) == (["", "TEAM"], ["", "OTHER", "TEAM"])
    assert kept.status_code == 302
    assert "address_secret" in refused.context["adminform"].form.errors


def test_a_former_secret_comes_back_with_the_permission_to_use_secrets_alone(staff_client):
    for name in ("TEAM", "OTHER"):
        Secret(name=name, encrypted="x", changed_at=timezone.now()).save()
    target = AlertTarget(name="team")
    for name in ("OTHER", "TEAM"):
        target.set_secret(name)
        target.save()
    former = target.history.earliest()
    url = reverse("admin:flows_alerttarget_simple_history", args=[target.pk, former.pk])
    client = staff_client("flows.change_alerttarget", "scripts.view_secret")
    data = form_data(client.get(url))

    refused = client.post(url, data)
    target.refresh_from_db()
    unchanged = target.address_secret
    User.objects.get(username="staff").user_permissions.add(*keys_of(("scripts.use_secrets",)))
    accepted = client.post(url, data)

    assert data["address_secret"] == "OTHER"
    assert "scripts.use_secrets" in refused.content.decode()
    assert unchanged == "TEAM"
    assert accepted.status_code == 302
    target.refresh_from_db()
    assert target.address_secret == "OTHER"


def test_a_former_version_has_the_address_that_is_stored(client):
    target = AlertTarget(name="team")
    for url in ("json://hooks.example.org/a", "xml://hooks.example.org/b"):
        target.set_url(url)
        target.save()
    former = reverse(
        "admin:flows_alerttarget_simple_history", args=[target.pk, target.history.earliest().pk]
    )

    assert client.post(former, form_data(client.get(former))).status_code == 302

    target.refresh_from_db()
    assert (target.scheme, target.value()) == ("xml", "xml://hooks.example.org/b")


def test_each_user_sees_what_fires_of_the_flows_that_it_watches(world, staff_client, give_right):
    watcher = staff_client()
    give_right("watch", world.flow)
    for flow in (world.flow.name, "another", ""):
        now = timezone.now()
        Alert.objects.create(
            rule="failing-more", flow=flow, level="warning", sentence="It.", since=now, seen_at=now
        )

    response = watcher.get(reverse("admin:flows_alert_changelist"))

    assert [row.flow for row in response.context["cl"].result_list] == [world.flow.name]
    assert watcher.get(LIST).status_code == 403


def test_an_alert_leads_to_the_flow_and_the_queue_that_it_is_about(client, world):
    now = timezone.now()
    given = {"rule": "queue-full", "level": "critical", "sentence": "It is full.", "advice": "See."}
    about = Alert.objects.create(
        flow="order-processing", queue="billing", since=now, seen_at=now, **given
    )
    gone = Alert.objects.create(flow="gone", since=now, seen_at=now, **given)
    page, of_gone = (
        client.get(reverse("admin:flows_alert_change", args=[each.pk])).content.decode()
        for each in (about, gone)
    )

    for row in (world.flow, world.billing):
        model = row._meta.model_name
        assert f'href="{reverse(f"admin:flows_{model}_change", args=[row.pk])}"' in page
    assert "gone" in of_gone


def test_empty_list_says_where_no_target_is_active(admin_client):
    page = reverse("admin:flows_alert_changelist")
    assert "There is no active alert target" in admin_client.get(page).content.decode()

    AlertTarget.objects.create(name="team", changed_at=timezone.now())
    assert "Empty is good: nothing fires" in admin_client.get(page).content.decode()
