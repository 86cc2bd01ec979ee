"""Schedules of flows in the Configuration Manager: who sees and edits them, and where."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from flows.models import AuditEntry, Flow, FlowSchedule, FlowScheduleState
from tests.builders import ECHO, make_flow
from tests.integration.admin.pages import act_on, form_data, messages_of

ADD = "admin:flows_flowschedule_add"
CHANGE = "admin:flows_flowschedule_change"


@pytest.fixture
def flow(db) -> Flow:
    return make_flow(codes=[ECHO])


@pytest.fixture
def schedule(flow) -> FlowSchedule:
    return FlowSchedule.objects.create(
        flow=flow, name="nightly", cron="30 2 * * *", time_zone="Europe/Berlin"
    )


def save(client: Client, page: str, **values: Any) -> Any:
    return client.post(page, form_data(client.get(page)) | values | {"_save": ""})


def test_a_schedule_is_made_from_the_page_of_its_flow(client, flow):
    page = client.get(reverse("admin:flows_flow_change", args=[flow.pk]))
    add = page.context["add_schedule_url"]

    save(client, add, name="nightly", cron="0 0 2 * * *", time_zone="Europe/Berlin", jitter="5m")

    schedule = FlowSchedule.objects.get()
    assert (schedule.flow, schedule.jitter.total_seconds()) == (flow, 300)
    assert schedule.state.at > timezone.now()
    text = client.get(reverse("admin:flows_flow_change", args=[flow.pk])).content.decode()
    assert "nightly" in text
    assert "0 0 2 * * * Europe/Berlin" in text


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cron", "61 * * * *", "Bad minute"),
        ("time_zone", "Berlin", "There is no time zone"),
        ("payload", '{"a": }', "Must be a JSON object"),
        ("labels", "[]", "Must be a JSON object of texts"),
        ("jitter", "5", ""),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(
    client, schedule, field, value, said
):
    page = reverse(CHANGE, args=[schedule.pk])

    response = save(client, page, **{field: value, "name": "typed"})

    form = response.context["adminform"].form
    assert said in form.errors[field][0]
    assert form["name"].value() == "typed"
    schedule.refresh_from_db()
    assert schedule.name == "nightly"


def test_all_that_is_wrong_is_said_at_once(client, schedule):
    page = reverse(CHANGE, args=[schedule.pk])
    response = save(client, page, name="a/b", cron="61 * * * *", time_zone="Europe/Nowhere")
    assert set(response.context["adminform"].form.errors) == {"name", "cron", "time_zone"}

    response = save(client, page, cron="")
    assert response.context["adminform"].form.errors == {"cron": ["This field is required."]}


def test_its_page_has_the_next_times_in_its_zone_and_the_last_problem(client, schedule):
    FlowScheduleState.objects.update(problem="The first queue of the flow is full.")

    text = client.get(reverse(CHANGE, args=[schedule.pk])).content.decode()
    home = client.get(reverse("admin:index")).content.decode()

    assert text.count("02:30:00 CE") == 5
    for each in (text, home):
        assert "The first queue of the flow is full." in each


@pytest.mark.sampled(3)
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
def test_rights_of_the_flow_decide_who_sees_and_who_edits(
    flow, schedule, staff_client, give_right, right, sees, changes
):
    client = staff_client()
    other = make_flow("other", codes=[ECHO])
    FlowSchedule.objects.create(flow=other, name="unseen-one", cron="0 0 * * *")
    if right:
        give_right(right, flow)
    page = reverse(CHANGE, args=[schedule.pk])

    listed = client.get(reverse("admin:flows_flowschedule_changelist"))
    shown = client.get(page)
    deleting = client.get(reverse("admin:flows_flowschedule_delete", args=[schedule.pk]))
    adding = client.get(reverse(ADD))

    assert (listed.status_code == 200) is sees
    assert b"unseen-one" not in listed.content
    assert (shown.status_code == 200) is sees
    assert (deleting.status_code == 200) is changes
    assert (adding.status_code == 200) is changes
    if sees:
        assert ("_save" in shown.content.decode()) is changes
    if changes:
        offered = adding.context["adminform"].form.fields["flow"].queryset
        assert list(offered) == [flow]
        save(client, reverse(ADD), flow=other.pk, name="x", cron="0 0 * * *")
        assert FlowSchedule.objects.count() == 2


def test_an_operator_pauses_and_resumes_a_schedule_with_a_reason(
    flow, schedule, staff_client, give_right
):
    client = staff_client()
    give_right("operate", flow)
    page = reverse(CHANGE, args=[schedule.pk])
    pause, resume = (
        reverse(f"admin:flows_flowschedule_{verb}", args=[schedule.pk])
        for verb in ("pause", "resume")
    )
    before = client.get(page).content.decode()

    client.post(pause, {"_form_submitted": "True", "reason": "The bank is closed."})
    paused = FlowSchedule.objects.select_related("state").get()
    while_paused = client.get(page).content.decode()
    client.post(resume, {"_form_submitted": "True"})
    resumed = FlowSchedule.objects.select_related("state").get()

    assert (pause in before, resume in before) == (True, False)
    assert (pause in while_paused, resume in while_paused) == (False, True)
    assert (paused.active, paused.state.at) == (False, None)
    assert resumed.active
    assert resumed.state.at > timezone.now()
    entries = AuditEntry.objects.filter(kind="schedule").exclude(verb="add").order_by("pk")
    assert list(entries.values_list("verb", "reason", "actor")) == [
        ("pause", "The bank is closed.", "staff"),
        ("resume", "", "staff"),
    ]


def test_a_schedule_whose_time_zone_is_gone_is_not_resumed_and_says_so(client, flow, schedule):
    FlowSchedule.objects.create(flow=flow, name="hourly", cron="0 * * * *", active=False)
    FlowSchedule.objects.filter(pk=schedule.pk).update(active=False, time_zone="Europe/Gone")
    url = reverse("admin:flows_flowschedule_changelist")

    page = act_on(client, url, "resume_selected", *FlowSchedule.objects.order_by("pk"))

    said = " ".join(messages_of(page))
    assert "Not resumed: nightly. There is no time zone 'Europe/Gone'." in said
    assert "Resumed: hourly." in said
    assert list(FlowSchedule.objects.filter(active=True).values_list("name", flat=True)) == [
        "hourly"
    ]


def test_schedules_are_paused_together_and_those_of_other_flows_are_left_out(
    flow, schedule, staff_client, give_right
):
    client = staff_client()
    other = FlowSchedule.objects.create(
        flow=make_flow("other", codes=[ECHO]), name="hourly", cron="0 * * * *"
    )
    off = FlowSchedule.objects.create(flow=flow, name="off", cron="0 * * * *", active=False)
    give_right("operate", flow)
    give_right("watch", other.flow)
    chosen = {
        "action": "pause_selected",
        "_selected_action": [each.pk for each in (schedule, other, off)],
    }
    url = reverse("admin:flows_flowschedule_changelist")

    asked = client.post(url, chosen)
    client.post(url, chosen | {"_confirmed": "1", "reason": "The bank is closed."})

    assert "Pause 1 schedule?" in asked.content.decode()
    assert "none of your roles operates their flows: 1" in asked.content.decode()
    assert "because they are paused: 1" in asked.content.decode()
    active = FlowSchedule.objects.filter(active=True)
    assert list(active.values_list("name", flat=True)) == ["hourly"]
