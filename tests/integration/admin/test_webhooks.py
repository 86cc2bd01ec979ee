"""Webhooks in the Configuration Manager: the flow's address and secret, and the deliveries."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flows import engine
from flows.models import AuditEntry, Flow, FlowWebhook, Run, WebhookDelivery
from flows.webhooks.secrets import secret_of
from tests.builders import ECHO, make_flow
from tests.integration.admin.pages import act_on, form_data

ANSWERED = "x" * 40


@pytest.fixture
def flow(db) -> Flow:
    return make_flow(codes=[ECHO])


@pytest.fixture
def delivery(flow) -> WebhookDelivery:
    engine.start("flow", {}, callback_url="https://caller.example/hook?token=hush")
    engine.cancel(Run.objects.get())
    WebhookDelivery.objects.update(
        status="failed",
        attempts=12,
        next_attempt_at=None,
        error="It answered 500.",
        answer=ANSWERED,
    )
    return WebhookDelivery.objects.get()


def page_of(flow: Flow) -> str:
    return reverse("admin:flows_flow_webhooks", args=[flow.pk])


def save(client: Client, flow: Flow, **values: Any) -> Any:
    page = reverse("admin:flows_flow_change", args=[flow.pk])
    return client.post(page, form_data(client.get(page)) | values | {"_save": ""})


@pytest.mark.parametrize("right", ["start", "watch", "operate"])
def test_query_of_a_webhook_is_not_shown_to_those_who_may_not_change_it(
    staff_client, give_right, flow, right
):
    flow.webhook_url = "https://a.example/hook?token=hush"
    flow.save()
    client, page = staff_client(), reverse("admin:flows_flow_change", args=[flow.pk])
    give_right(right, flow)
    states = [
        reverse("admin:flows_flow_simple_history", args=[flow.pk, each.pk])
        for each in flow.history.all()
    ]

    for url in (page, reverse("admin:flows_flow_history", args=[flow.pk]), *states):
        assert "hush" not in client.get(url).content.decode(), url
    assert "https://a.example/hook?…" in client.get(page).content.decode()
    give_right("configure", flow)
    assert "https://a.example/hook?token=hush" in client.get(page).content.decode()


def test_webhook_of_a_flow_is_set_on_its_page(client, flow):
    save(client, flow, webhook_url="https://a.example/hook")

    flow.refresh_from_db()
    assert flow.webhook_url == "https://a.example/hook"
    assert AuditEntry.objects.filter(verb="change", name="flow").exists()


@pytest.mark.parametrize("url", ["a.example", "https://u:p@a.example/", "http://10.0.0.1/"])
def test_webhook_that_cannot_be_is_refused_on_the_page_of_the_flow(client, flow, url):
    response = save(client, flow, webhook_url=url)

    assert response.context["adminform"].form.errors["webhook_url"]


@pytest.mark.parametrize("may", [False, True])
def test_private_addresses_are_granted_with_a_permission_of_its_own(
    flow, staff_client, give_right, may
):
    client = staff_client(*(["scripts.call_private_addresses"] if may else []))
    give_right("configure", flow)

    save(client, flow, webhook_url="http://10.0.0.1/", private_webhooks="on")

    flow.refresh_from_db()
    assert flow.private_webhooks is may


@pytest.mark.parametrize("may", [False, True])
def test_the_grant_comes_back_from_the_history_with_the_permission_alone(
    flow, staff_client, give_right, may
):
    flow.private_webhooks = True
    flow.save()
    granted = flow.history.first()
    flow.private_webhooks = False
    flow.save()
    client = staff_client(*(["scripts.call_private_addresses"] if may else []))
    give_right("configure", flow)
    old = reverse("admin:flows_flow_simple_history", args=[flow.pk, granted.history_id])
    page = client.get(old)
    assert page.status_code == 200

    client.post(old, form_data(page))

    flow.refresh_from_db()
    assert flow.private_webhooks is may


@pytest.mark.parametrize("may", [False, True])
def test_a_deleted_flow_with_the_grant_is_restored_with_the_permission_alone(
    flow, staff_client, give_right, may
):
    flow.private_webhooks = True
    flow.save()
    flow.delete()
    client = staff_client(*(["scripts.call_private_addresses"] if may else []))
    give_right("configure")
    record = Flow.history.get(history_type="-")

    client.post(reverse("admin:flows_flow_restore", args=[record.pk]))

    assert Flow.objects.filter(private_webhooks=True).exists() is may


def test_secret_is_shown_on_demand_alone_and_replaced(client, flow):
    page = page_of(flow)
    assert "whsec_••" in client.get(page).content.decode()
    assert not FlowWebhook.objects.exists()

    shown = client.post(page, {"show": ""})
    first = secret_of(flow)
    client.post(page, {"replace": ""})

    assert first in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    assert secret_of(flow) != first
    hidden = client.get(page).content.decode()
    assert "signs, too, for a day" in hidden
    assert secret_of(flow) not in hidden
    verbs = AuditEntry.objects.filter(name="flow").values_list("verb", flat=True)
    assert {"show the webhook secret", "replace the webhook secret"} <= set(verbs)
    told = str(list(AuditEntry.objects.values_list("before", "after")))
    assert "whsec_" not in told


@pytest.mark.parametrize(
    ("right", "status"), [("watch", 403), ("operate", 403), ("start", 403), ("configure", 200)]
)
def test_secret_is_for_those_who_configure_the_flow(flow, staff_client, give_right, right, status):
    client = staff_client()
    give_right(right, flow)

    assert client.get(page_of(flow)).status_code == status
    assert client.post(page_of(flow), {"show": ""}).status_code == status


def test_webhook_that_is_off_is_turned_on_again(client, flow):
    Flow.objects.update(webhook_url="https://a.example/hook")
    secret_of(flow)
    FlowWebhook.objects.update(gone_url="https://a.example/hook", gone_at="2026-11-02T09:30Z")

    assert "answered 410" in client.get(page_of(flow)).content.decode()
    client.post(page_of(flow), {"turn_on": ""})

    assert FlowWebhook.objects.get().gone_url == ""
    assert "answered 410" not in client.get(page_of(flow)).content.decode()


def test_page_of_a_run_and_the_list_show_deliveries_without_the_query(client, delivery):
    pages = [
        reverse("admin:flows_run_change", args=[delivery.run_id]),
        reverse("admin:flows_webhookdelivery_changelist"),
        reverse("admin:flows_webhookdelivery_changelist") + "?flow=flow&status__exact=failed",
        reverse("admin:flows_webhookdelivery_change", args=[delivery.pk]),
    ]

    for page in pages:
        content = client.get(page).content.decode()
        assert "https://caller.example/hook?…" in content
        assert "It answered 500." in content
        assert "hush" not in content
    assert ANSWERED in content


def test_delivery_is_sent_again_from_its_page_and_from_the_list(client, delivery):
    page = reverse("admin:flows_webhookdelivery_send_again", args=[delivery.pk])

    client.post(page, {"_form_submitted": "True", "reason": "it is back"})

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)
    assert AuditEntry.objects.get(verb="send again").reason == "it is back"
    act_on(
        client, reverse("admin:flows_webhookdelivery_changelist"), "send_selected_again", delivery
    )
    assert AuditEntry.objects.filter(verb="send again").count() == 2


def test_deliveries_are_seen_by_those_who_see_the_run(delivery, staff_client, give_right):
    client = staff_client()
    give_right("watch", make_flow("other", codes=[ECHO]))
    page = reverse("admin:flows_webhookdelivery_change", args=[delivery.pk])

    assert client.get(page).status_code == 302
    listed = client.get(reverse("admin:flows_webhookdelivery_changelist"))
    assert "caller.example" not in listed.content.decode()
    give_right("watch", Flow.objects.get(name="flow"))
    assert client.get(page).status_code == 200
    again = reverse("admin:flows_webhookdelivery_send_again", args=[delivery.pk])
    assert client.post(again, {"_form_submitted": "True"}).status_code in (302, 403)
    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_the_list_of_deliveries_does_not_count_all_of_them(client, delivery):
    with CaptureQueriesContext(connection) as caught:
        response = client.get(reverse("admin:flows_webhookdelivery_changelist"))

    counts = [
        query["sql"]
        for query in caught.captured_queries
        if "COUNT(" in query["sql"] and 'FROM "flows_webhookdelivery"' in query["sql"]
    ]
    assert [delivery.pk] == [each.pk for each in response.context["cl"].result_list]
    assert counts
    assert all("LIMIT" in each for each in counts)
