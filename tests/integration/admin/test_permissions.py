"""Staff see and do what their permissions give, and no page is broken without permissions."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from flows.models import Message

pytestmark = pytest.mark.usefixtures("refusals_once")

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def shown(response):
    return [
        item["title"]
        for group in response.context["sidebar_navigation"]
        for item in group["items"]
        if item["has_permission"]
    ]


def test_staff_without_permissions_see_a_dashboard_that_says_so(staff_client, world):
    response = staff_client().get(reverse("admin:index"))

    assert response.status_code == 200
    assert "Welcome" in response.content.decode()
    assert shown(response) == ["Home", "Documentation"]


def test_staff_without_permissions_see_no_list(staff_client, world):
    client = staff_client()

    for model in MODELS:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        assert client.get(reverse(name)).status_code == 403, name


def test_a_permission_opens_the_page_and_shows_no_row(staff_client, world):
    client = staff_client("flows.view_queue", "flows.view_flow")

    response = client.get(reverse("admin:index"))

    assert shown(response) == ["Home", "Documentation", "Flows", "Queues"]
    assert "flows" not in response.context
    assert "queues" not in response.context
    assert world.flow.name not in client.get(reverse("admin:flows_flow_changelist")).text


@pytest.mark.parametrize("page", ["flows_flow", "flows_queue", "scripts_script", "auth_group"])
def test_who_may_view_sees_the_page_without_buttons_that_change(
    staff_client, world, give_right, page
):
    objects = {
        "flows_flow": world.flow,
        "flows_queue": world.billing,
        "scripts_script": world.script,
        "auth_group": world.role,
    }
    app, model = page.split("_")
    client = staff_client(f"{app}.view_{model}")
    give_right("watch", world.flow)

    response = client.get(reverse(f"admin:{page}_change", args=[objects[page].pk]))

    assert response.status_code == 200
    content = response.content.decode()
    assert 'name="_save"' not in content
    assert "/start/" not in content
    assert "/pause/" not in content


def test_who_may_not_start_gets_no_start_form(staff_client, world):
    client = staff_client("flows.view_flow")
    page = reverse("admin:flows_flow_start", args=[world.flow.pk])

    assert client.get(page).status_code == 403
    assert client.post(page, {"payload": "{}"}).status_code == 403
    assert Message.objects.count() == 0


def test_who_may_start_comes_to_the_own_run(staff_client, world, give_right):
    client = staff_client()
    give_right("start", world.flow)
    page = reverse("admin:flows_flow_start", args=[world.flow.pk])

    response = client.post(page, {"payload": '{"orderId": "A-1", "amount": 1}'})

    run = Message.objects.get().run_id
    assert response.url == reverse("admin:flows_run_change", args=[run])
    assert client.get(response.url).status_code == 200


def test_who_may_only_view_queues_cannot_pause_them(staff_client, world):
    client = staff_client("flows.view_queue")
    page = reverse("admin:flows_queue_pause", args=[world.billing.pk])

    assert client.post(page, {"_form_submitted": "True"}).status_code == 403
    world.billing.refresh_from_db()
    assert world.billing.paused is False


def test_a_stranger_is_asked_to_log_in(client, world):
    client.logout()

    response = client.get(reverse("admin:flows_run_changelist"))

    assert response.status_code == 302
    assert reverse("admin:login") in response.url
