"""A secret is written in the Configuration Manager, and never read there."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from flows.models import AlertTarget
from scripts.models import Script, Secret
from tests.integration.admin.pages import form_data

ADD = reverse("admin:scripts_secret_add")
LIST = reverse("admin:scripts_secret_changelist")
VALUE = " sword\nfish "


@pytest.fixture
def secret(db) -> Secret:
    secret = Secret(name="shop.key", description="of the shop")
    secret.set_value(VALUE)
    secret.save()
    return secret


@pytest.fixture
def page(secret) -> str:
    return reverse("admin:scripts_secret_change", args=[secret.pk])


def test_a_secret_needs_a_value_and_keeps_it_as_it_was_entered(client, db):
    data = {"name": "shop.key", "description": ""}

    assert client.post(ADD, data).context["adminform"].form.errors.keys() == {"value"}
    assert client.post(ADD, data | {"value": " sword\r\nfish "}).status_code == 302

    assert Secret.objects.get().value() == VALUE


def test_no_page_shows_the_value(client, secret, page):
    history = reverse("admin:scripts_secret_history", args=[secret.pk])
    old = reverse(
        "admin:scripts_secret_simple_history", args=[secret.pk, secret.history.first().pk]
    )

    for url in (LIST, page, history, old):
        content = client.get(url).content.decode()
        assert "fish" not in content
        assert secret.encrypted not in content


def test_a_value_that_was_refused_does_not_come_back(client, db):
    content = client.post(ADD, {"name": "two words", "value": "swordfish"}).content.decode()

    assert "inside" in content
    assert "swordfish" not in content


def test_an_empty_value_leaves_it_as_it_is(client, secret, page):
    data = form_data(client.get(page)) | {"description": "new", "value": ""}

    assert client.post(page, data).status_code == 302

    secret.refresh_from_db()
    assert (secret.description, secret.value()) == ("new", VALUE)


def test_a_new_value_is_stored_and_noted_without_it(client, secret, page):
    before = secret.changed_at

    client.post(page, form_data(client.get(page)) | {"value": "marlin"})

    secret.refresh_from_db()
    assert secret.value() == "marlin"
    assert secret.changed_at > before
    assert secret.history.count() == 2
    assert "marlin" not in LogEntry.objects.latest("pk").change_message


def test_a_name_cannot_be_changed(client, secret, page):
    client.post(page, form_data(client.get(page)) | {"name": "other"})

    secret.refresh_from_db()
    assert secret.name == "shop.key"


def test_scripts_that_use_a_secret_are_named_and_keep_it_from_being_deleted(
    client, world, secret, page
):
    world.script.secrets = ["shop.key"]
    world.script.save()
    script_page = reverse("admin:scripts_script_change", args=[world.script.pk])

    assert script_page in client.get(page).content.decode()
    delete = reverse("admin:scripts_secret_delete", args=[secret.pk])
    client.post(delete, {"post": "yes"})
    client.post(LIST, {"action": "delete_selected", "_selected_action": secret.pk, "post": "yes"})
    assert Secret.objects.filter(pk=secret.pk).exists()

    world.script.secrets = []
    world.script.save()
    client.post(delete, {"post": "yes"})
    assert not Secret.objects.exists()


def test_an_alert_target_that_uses_a_secret_keeps_it_from_being_deleted(
    client, staff_client, secret, page
):
    target = AlertTarget(name="night-watch")
    target.set_secret("shop.key")
    target.save()
    delete = reverse("admin:scripts_secret_delete", args=[secret.pk])
    many = {"action": "delete_selected", "_selected_action": secret.pk, "post": "yes"}

    old = reverse("admin:scripts_secret_simple_history", args=[secret.pk, secret.history.get().pk])

    shown, listed = client.get(page).content.decode(), client.get(LIST)
    refused = client.post(delete, {"post": "yes"}).content.decode()
    client.post(LIST, many)
    looks = staff_client("scripts.view_secret", "scripts.delete_secret")
    hidden = looks.get(page).content.decode() + looks.post(delete, {"post": "yes"}).content.decode()

    target_page = reverse("admin:flows_alerttarget_change", args=[target.pk])
    assert target_page in shown
    assert target_page in client.get(old).content.decode()
    assert [each.uses for each in listed.context["cl"].result_list] == [1]
    assert "Alert target night-watch" in refused
    assert "lert target that you may not see" in hidden
    assert "night-watch" not in hidden
    assert Secret.objects.filter(pk=secret.pk).exists()

    target.delete()
    client.post(delete, {"post": "yes"})
    assert not Secret.objects.exists()


def test_a_script_chooses_secrets_and_keeps_one_that_is_not_entered_yet(client, world, secret):
    world.script.secrets = ["mail.password"]
    world.script.save()
    page = reverse("admin:scripts_script_change", args=[world.script.pk])

    assert "mail.password (not entered yet)" in client.get(page).content.decode()
    data = form_data(client.get(page)) | {"secrets": ["mail.password", "shop.key"]}
    assert client.post(page, data).status_code == 302

    assert Script.objects.get(pk=world.script.pk).secrets == ["mail.password", "shop.key"]
    refused = client.post(page, data | {"secrets": ["no.such.secret"]})
    assert "secrets" in refused.context["adminform"].form.errors


def test_who_may_only_look_sees_the_name(staff_client, page):
    content = staff_client("scripts.view_secret").get(page).content.decode()

    assert "shop.key" in content
    assert 'name="value"' not in content
