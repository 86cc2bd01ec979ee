"""Whatever stands in an address of the admin, there is an answer and no surprise."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import reverse

from tests.integration.admin.world import World

pytestmark = pytest.mark.usefixtures("refusals_once")

# Of each kind that one of the lookups or databases does not like.
VALUES = ["\0", "x", "99999999999999999999", "10000-01-01"]
# PostgreSQL answers nothing more in a transaction in which a statement has failed.
TRANSACTIONS_OF_ITS_OWN = pytest.mark.django_db(transaction=True)
PAGES_OF_ONE = ("change/", "delete/", "history/", "")
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def list_of(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def parameters_of(response: Any) -> set[str]:
    """Return what the filters of a list take, and what Django takes beside them."""
    found = getattr(response, "context_data", None) or {}
    filters = found["cl"].filter_specs if "cl" in found else []
    return {"q", "o", "p", "e"}.union(*(spec.expected_parameters() or () for spec in filters))


@pytest.mark.sampled(3)
@TRANSACTIONS_OF_ITS_OWN
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_filter_of_a_list_is_a_surprise(
    admin_client: Client, world: World, model: type[models.Model]
):
    url = list_of(model)
    lookups = {f"{field.name}__range" for field in model._meta.fields[:2]}

    for name in parameters_of(admin_client.get(url)) | lookups:
        for value in VALUES:
            answer = admin_client.get(url, {name: value})
            assert answer.status_code in {200, 302, 400, 403}, (name, value)
            if answer.headers.get("Location") == url:
                assert "The list is not filtered" in admin_client.get(url).text, (name, value)


@TRANSACTIONS_OF_ITS_OWN
@pytest.mark.parametrize(
    "address",
    [
        "run/?created_from_0=2026-99-99",
        "run/?created__gte=x",
        "run/?after=1&e=1",
        "run/?age=2h",
        "run/?created_at_from_0=30.11.2026",
        "run/?created_at_to_0=2026-12-01 7",
        "run/?created_at_from_1=16:00",
        "auditentry/?at_to_0=1.12.2026",
        "deadletter/?dead_at_from_0=30.11.2026",
        "deadletter/?dead_at_to_0=2026-11-31",
        "deadletter/?dead_at_to_1=16:00",
        "deadletter/?state=gone",
    ],
)
def test_list_says_what_it_could_not_be_filtered_by(
    admin_client: Client, world: World, address: str
):
    page = admin_client.get(f"/admin/flows/{address}", follow=True)

    assert page.status_code == 200
    assert "database installation" not in page.text
    said = [str(each) for each in page.context["messages"]]
    wrong = address.partition("?")[2].removesuffix("&e=1")
    assert said == [f"The list is not filtered, as this cannot be read: {wrong}"]


@pytest.mark.django_db
def test_login_page_takes_any_address_for_the_page_before():
    page = Client().get("/admin/login/?next=/admin/", headers={"Referer": "http://[::1/admin/"})

    assert page.status_code == 200
    assert "Your session has ended" not in page.text


@TRANSACTIONS_OF_ITS_OWN
def test_no_key_in_an_address_or_a_selection_is_a_surprise(admin_client: Client, world: World):
    for url in map(list_of, MODELS):
        for value in VALUES:
            selected = {"action": "delete_selected", "_selected_action": value}
            for page in PAGES_OF_ONE:
                answer = admin_client.get(f"{url}{quote(value, safe='')}/{page}")
                assert answer.status_code in {200, 302, 400, 403, 404}, (url, value, page)

            answer = admin_client.post(url, selected)
            assert answer.status_code in {200, 302, 400, 403}, (url, value)
