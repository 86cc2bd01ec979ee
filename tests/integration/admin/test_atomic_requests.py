"""ATOMIC_REQUESTS is for the project's pages: those of the engine commit for themselves."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.core.handlers.base import BaseHandler
from django.db import connection, connections
from django.urls import reverse
from django_q.models import OrmQ

from flows.models import Run
from scripts.admin.base import OwnTransactions
from scripts.models import Script, TrialRecord
from tests.integration.admin.pages import form_data

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


def atomic(model_admin: Any) -> list[str]:
    handler = BaseHandler()
    return [
        str(pattern)
        for pattern in model_admin.urls
        if handler.make_view_atomic(pattern.callback) is not pattern.callback
    ]


def test_no_page_of_the_engine_is_put_into_a_transaction():
    pages = [
        model_admin
        for model, model_admin in admin.site._registry.items()
        if model._meta.app_label in {"flows", "scripts"} or model is OrmQ
    ]

    assert len(pages) > 12
    assert [each for each in pages if atomic(each)] == []


def test_pages_of_the_project_are_left_to_it():
    assert atomic(admin.ModelAdmin(Script, AdminSite()))
    assert not isinstance(admin.ModelAdmin(Script, AdminSite()), OwnTransactions)


def test_a_trial_that_breaks_stays_on_record(client, world):
    script = Script.objects.create(
        name="caller", code="def run(m, c):\n    return m\n", network=True, allowed_hosts=["h.org"]
    )
    in_transaction = []

    def broken(*args: Any, **kwargs: Any) -> Any:
        in_transaction.append(connection.in_atomic_block)
        raise RuntimeError("the process is out of descriptors")

    client.raise_request_exception = False
    shown = client.get(reverse("admin:scripts_script_change", args=[script.pk]))

    with mock.patch("scripts.admin.trial_page.run_trial", broken):
        answer = client.post(
            reverse("admin:scripts_script_trial", args=[script.pk]),
            form_data(shown) | {"sample": "{}"},
        )

    assert (answer.status_code, in_transaction) == (500, [False])
    assert TrialRecord.objects.get().script == script


def test_a_start_is_committed_when_it_is_answered(client, world):
    page = reverse("admin:flows_flow_start", args=[world.flow.pk])
    states = []

    def noted(*args: Any) -> None:
        states.append(connection.in_atomic_block)

    with mock.patch("flows.admin.starting.why_it_would_wait", noted):
        answer = client.post(page, {"payload": '{"orderId": "A-2", "amount": 1}'})

    assert answer.status_code == 302, answer.context["form"].errors
    assert set(states) == {False}
    assert Run.objects.filter(status="QUEUED").exists()
