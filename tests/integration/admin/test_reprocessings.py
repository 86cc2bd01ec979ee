from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone

from flows.models import Reprocessing, RoleMapping
from tests.integration.admin.pages import answer_dialog, messages_of

LIST = "/admin/flows/reprocessing/"


@pytest.fixture
def begin(world):
    return reverse("admin:flows_reprocessing_begin")


def fields(**given):
    return {"script": "own", "sample": "0", **given}


def text_of(response):
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_dead_letters_lead_to_the_page_for_many(client, begin):
    response = client.get(reverse("admin:flows_deadletter_reprocess_many"))

    assert response.url == begin


def test_counting_tells_where_they_are_and_puts_none_back(client, world, begin):
    response = client.post(begin, fields(count="1"))

    letter = world.dead_letter
    assert "1 dead letter would be reprocessed" in text_of(response)
    assert f"1 at {letter.step.name} of order-processing, queue billing" in text_of(response)
    assert not Reprocessing.objects.exists()


def test_reprocessing_begins_with_what_was_chosen(client, superuser, begin):
    data = fields(
        flow_name="order-processing",
        queue="billing",
        reason="exhausted",
        script="newest",
        sample="5",
        stop_after_failures="3",
        rate_per_second="2.5",
    )

    response = client.post(begin, data, follow=True)

    begun = Reprocessing.objects.get()
    assert begun.filter == {
        "flow_name": "order-processing",
        "queue": "billing",
        "reason": "exhausted",
    }
    assert (begun.script, begun.sample, begun.user) == ("newest", 5, superuser)
    assert (begun.stop_after_failures, begun.rate_per_second) == (3, 2.5)
    assert messages_of(response) == ["Dead letters that are being reprocessed: 1."]
    assert "flow order-processing, queue billing, reason exhausted" in text_of(response)


@pytest.mark.parametrize(
    "wrong", [{"sample": "-1"}, {"stop_after_failures": "0"}, {"rate_per_second": "0"}]
)
def test_limits_that_make_no_sense_are_refused(client, begin, wrong):
    response = client.post(begin, fields(**wrong))

    assert response.status_code == 200
    assert [*wrong] == [*response.context["form"].errors]
    assert not Reprocessing.objects.exists()


def test_a_running_one_is_stopped(client, superuser, begin):
    client.post(begin, fields())
    begun = Reprocessing.objects.get()

    answer_dialog(client, reverse("admin:flows_reprocessing_stop", args=[begun.pk]))

    begun.refresh_from_db()
    assert (begun.state, begun.note) == ("STOPPED", f"Stopped by {superuser}.")


def test_who_may_only_look_begins_none(staff_client, begin):
    client = staff_client("flows.view_reprocessing")

    assert client.get(LIST).status_code == 200
    assert client.post(begin, fields()).status_code == 403
    assert not Reprocessing.objects.exists()


def test_one_of_all_flows_is_not_seen_by_who_operates_some_of_them_now(staff_client, world):
    client = staff_client("flows.view_reprocessing")
    user = User.objects.get(username="staff")
    role = Group.objects.create(name="operators")
    RoleMapping.objects.create(role=role, right="operate", flow=world.flow)
    user.groups.add(role)
    now = timezone.now()
    confined, everywhere = (
        Reprocessing.objects.create(
            user=user, flow_ids=flow_ids, last_id=0, created_at=now, due_at=now
        )
        for flow_ids in ([world.flow.pk], None)
    )

    shown = {
        each.pk: client.get(f"{LIST}{each.pk}/change/").status_code == 200
        for each in (confined, everywhere)
    }

    assert shown == {confined.pk: True, everywhere.pk: False}
