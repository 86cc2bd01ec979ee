"""What the admin takes as a name is what the configuration document takes."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from flows.models import Flow, Queue
from scripts.models import Script
from tests.integration.admin.pages import form_data, messages_of

DURATIONS = {"retention": "30 days", "polling": "100 ms"}


def refused(client: Client, model: Any, name: str, pk: Any = None, **values: str) -> str:
    """Post a model's form; return what is said about the name."""
    page = f"admin:{model._meta.app_label}_{model._meta.model_name}_"
    url = reverse(f"{page}change", args=[pk]) if pk else reverse(f"{page}add")
    form = client.get(url).context["adminform"].form
    given = {field: form.get_initial_for_field(form.fields[field], field) for field in form.fields}
    filled = {field: value for field, value in given.items() if value is not None}
    response = client.post(url, {**filled, **values, "name": name})
    if response.status_code == 302:
        return ""
    return str(response.context["adminform"].form.errors.get("name", ""))


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Flow, Queue])
def test_a_flow_or_queue_that_no_address_reaches_is_refused(admin_client: Client, model: Any):
    for name in ["..", "a/start", "a/b", "a//b", "a\r\nb", "*"]:
        assert "must not" in refused(admin_client, model, name), name
        assert not model.objects.exists(), name


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Flow, Queue, Script])
def test_a_name_with_characters_that_are_not_seen_is_refused(admin_client: Client, model: Any):
    for name in ["x\u202ey", "or\u200bders", "\ufefforders", "a\u2066b"]:
        said = refused(admin_client, model, name)
        assert f"U+{ord(max(name)):04X}" in said, said
    assert not model.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Flow, Queue])
def test_a_name_that_another_has_nearly_is_taken_with_a_warning(admin_client: Client, model: Any):
    url = reverse(f"admin:flows_{model._meta.model_name}_add")
    data = form_data(admin_client.get(url))
    model.objects.create(name="orders")

    for name in ("ORDERS", "or ders", "\uff4frders"):
        made = admin_client.post(url, {**data, "name": name}, follow=True)
        assert any("nearly the same name" in each for each in messages_of(made)), name
    other = admin_client.post(url, {**data, "name": "orders-2"}, follow=True)
    assert not any("nearly the same name" in each for each in messages_of(other))


@pytest.mark.django_db
def test_a_script_with_control_characters_in_its_name_is_refused(admin_client: Client):
    assert "must not" in refused(admin_client, Script, "a\r\nb")


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Flow, Queue])
def test_a_name_that_is_stored_may_stay(admin_client: Client, model: Any):
    stored = model.objects.create(name="a/start")

    assert refused(admin_client, model, "a/start", stored.pk) == ""
    assert "must not" in refused(admin_client, model, "b/start", stored.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Flow, Queue])
def test_a_name_that_addresses_encode_is_taken_with_a_warning(admin_client: Client, model: Any):
    url = reverse(f"admin:flows_{model._meta.model_name}_add")
    data = form_data(admin_client.get(url))

    plain = admin_client.post(url, {**data, "name": "plain"}, follow=True)
    odd = admin_client.post(url, {**data, "name": "my flow ü"}, follow=True)

    assert not any("In addresses" in message for message in messages_of(plain))
    assert any("my%20flow%20%C3%BC" in message for message in messages_of(odd))
