"""Thresholds of alarms in the Configuration Manager: who sees and sets them, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from flows.models import AlertThresholds, AuditEntry, Flow, Queue
from tests.builders import ECHO, make_flow
from tests.integration.admin.pages import form_data

ADD = reverse("admin:flows_alertthresholds_add")
LIST = reverse("admin:flows_alertthresholds_changelist")


@pytest.fixture
def flow(db) -> Flow:
    return make_flow("bill", codes=[ECHO])


def save(client: Client, page: str, **values: Any) -> Any:
    return client.post(page, form_data(client.get(page)) | values | {"_save": ""})


def page_of(row: AlertThresholds) -> str:
    return reverse("admin:flows_alertthresholds_change", args=[row.pk])


def test_they_are_set_for_all_for_a_flow_and_for_a_queue_and_noted(client, flow):
    queue = Queue.objects.get()

    save(client, ADD, queue_full="75.5", standing_still="10 min", workers_gone="1 min")
    save(client, ADD, flow=flow.pk, new_letters="5")
    save(client, ADD, queue=queue.pk, oldest_age="1 h")
    of_all, of_flow, of_queue = AlertThresholds.objects.all()
    save(client, page_of(of_flow), new_letters="6", failed_share="")

    assert (of_all.queue_full, of_all.standing_still) == (75.5, timedelta(minutes=10))
    assert (of_flow.flow, of_queue.queue) == (flow, queue)
    of_flow.refresh_from_db()
    assert (of_flow.new_letters, of_flow.flow) == (6, flow)
    text = client.get(LIST).content.decode()
    assert "installation" in text
    assert "queue nearly full: 75.5; queue standing still: 10 min" in text
    noted = AuditEntry.objects.get(verb="change", name="flow bill")
    assert (noted.before, noted.after) == ({"new_letters": 5}, {"new_letters": 6})


def test_a_whole_number_stands_in_its_field_as_it_was_written(client, db):
    row = AlertThresholds.objects.create(queue_full=80, failed_share=2.5)

    data = form_data(client.get(page_of(row)))

    assert (data["queue_full"], data["failed_share"]) == (80, 2.5)


def test_a_page_has_the_fields_of_its_place_alone_each_with_unit_and_effect(client, flow):
    of_all = AlertThresholds.objects.create()
    of_flow = AlertThresholds.objects.create(flow=flow)
    of_queue = AlertThresholds.objects.create(queue=Queue.objects.get())

    forms = [
        client.get(page_of(row)).context["adminform"].form for row in (of_all, of_flow, of_queue)
    ]

    assert [len(form.fields) for form in forms] == [9, 8, 3]
    assert "workers_gone" not in forms[1].fields
    assert all("empty:" in field.help_text.lower() for field in forms[0].fields.values())


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"queue_full": "0"}, "queue_full"),
        ({"standing_still": "5"}, "standing_still"),
        ({"workers_gone": "1 s"}, "workers_gone"),
        ({"flow": "FLOW", "workers_gone": "1 min"}, "workers_gone"),
        ({"flow": "FLOW", "queue": "QUEUE"}, "__all__"),
        ({"flow": "FLOW", "new_letters": "2"}, "__all__"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(client, flow, values, field):
    AlertThresholds.objects.create(flow=flow, new_letters=9)
    keys = {"FLOW": flow.pk, "QUEUE": Queue.objects.get().pk}

    response = save(client, ADD, **{name: keys.get(value, value) for name, value in values.items()})

    assert field in response.context["adminform"].form.errors
    assert AlertThresholds.objects.get().new_letters == 9


@pytest.mark.parametrize(
    ("right", "sees", "changes"),
    [
        (None, False, False),
        ("start", False, False),
        ("watch", True, False),
        ("operate", True, False),
        ("configure", True, True),
    ],
)
def test_rights_of_the_flow_decide_who_sees_and_who_sets_them(
    flow, staff_client, give_right, right, sees, changes
):
    client = staff_client()
    other = make_flow("unseen", codes=[ECHO])
    of_flow = AlertThresholds.objects.create(flow=flow, new_letters=2)
    of_queue = AlertThresholds.objects.create(queue=flow.steps.get().queue, queue_full=50)
    hidden = [AlertThresholds.objects.create(flow=other), AlertThresholds.objects.create()]
    if right:
        give_right(right, flow)

    listed = client.get(LIST)
    pages = [client.get(page_of(row)) for row in (of_flow, of_queue)]
    adding = client.get(ADD)

    assert (listed.status_code == 200) is sees
    assert {page.status_code == 200 for page in pages} == {sees}
    assert {client.get(page_of(row)).status_code == 200 for row in hidden} == {False}
    assert (adding.status_code == 200) is changes
    if sees:
        assert list(listed.context["cl"].result_list) == [of_flow, of_queue]
        assert {"_save" in page.content.decode() for page in pages} == {changes}
    if changes:
        fields = adding.context["adminform"].form.fields
        assert list(fields["flow"].queryset) == [flow]
        assert list(fields["queue"].queryset) == [of_queue.queue]
        for row in (of_flow, of_queue):
            assert save(client, page_of(row), queue_full="60").status_code == 302
        AlertThresholds.objects.filter(flow=None, queue=None).delete()
        refused = save(client, ADD, queue_full="60")
        assert "Choose a flow or a queue" in str(refused.context["adminform"].form.errors)
        assert save(client, ADD, flow=other.pk, queue_full="1").status_code == 200
        assert AlertThresholds.objects.count() == 3


def test_a_deleted_flow_is_restored_with_its_thresholds(client, flow):
    AlertThresholds.objects.create(flow=flow, new_letters=7)
    delete = reverse("admin:flows_flow_delete", args=[flow.pk])
    client.post(delete, {"post": "yes"})
    assert not AlertThresholds.objects.exists()
    record = Flow.history.filter(history_type="-").latest("pk")

    client.post(reverse("admin:flows_flow_restore", args=[record.pk]), {"_confirmed": "yes"})

    assert AlertThresholds.objects.get(flow__name="bill").new_letters == 7
