from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils.html import escape

from flows import engine
from flows.errors import QueueFull
from flows.models import Flow, Message, Run, Step
from flows.pipes.snippets import snippets
from tests.integration.admin.pages import (
    act_on,
    add_row,
    answer_dialog,
    form_data,
    messages_of,
)


@pytest.fixture
def page(world):
    return reverse("admin:flows_flow_change", args=[world.flow.pk])


def step_names(flow):
    return list(flow.steps.order_by("position").values_list("name", flat=True))


def address(name, flow, *args):
    return reverse(f"admin:flows_flow_{name}", args=[flow.pk, *args])


def new_step(world, **values):
    """Return the form of a new step with an existing script and the free queue."""
    given = {
        "name": "notify",
        "script_choice": "existing",
        "script": world.script.name,
        "queue_choice": "existing",
        "queue": world.spare.name,
        "language": "python",
        "threads": 1,
    }
    return given | values


def start_page(flow):
    return reverse("admin:flows_flow_start", args=[flow.pk])


def test_steps_can_be_put_in_another_order(client, world):
    charge = world.flow.steps.get(name="charge")

    response = client.post(
        address("move_step", world.flow), {"move": f"{charge.pk}:0", "_confirmed": ""}
    )

    assert response.status_code == 302
    assert step_names(world.flow) == ["charge", "reserve"]


def test_a_new_step_comes_last(client, world):
    response = client.post(address("add_step", world.flow), new_step(world, threads=2))

    assert response.status_code == 302
    assert step_names(world.flow) == ["reserve", "charge", "notify"]
    assert world.flow.steps.get(name="notify").threads == 2


def test_adding_a_step_makes_a_version_with_the_new_steps(client, world, superuser):
    client.post(address("add_step", world.flow), new_step(world))

    latest = world.flow.versions.order_by("number").last()
    assert (latest.number, latest.author) == (2, superuser)
    assert list(latest.steps.values_list("name", flat=True)) == ["reserve", "charge", "notify"]


def test_saving_without_a_change_makes_no_version(client, world, page):
    response = client.post(page, form_data(client.get(page)))

    assert response.status_code == 302
    assert world.flow.versions.count() == 1


def test_a_flow_is_made_by_its_name_and_leads_to_its_page(client, world):
    add = reverse("admin:flows_flow_add")
    page = client.get(add)

    response = client.post(add, form_data(page) | {"name": "refund", "_save": ""})

    assert list(page.context["adminform"].form.fields) == ["name", "description"]
    flow = Flow.objects.get(name="refund")
    assert response.url == reverse("admin:flows_flow_change", args=[flow.pk])
    assert "This flow has no steps yet" in client.get(response.url).content.decode()


def test_how_long_runs_are_kept_is_set_on_the_page(client, world, page):
    client.post(page, form_data(client.get(page)) | {"retention": "1 d 12 h"})

    world.flow.refresh_from_db()
    assert world.flow.retention == timedelta(hours=36)


def test_a_queue_that_feeds_another_step_is_refused_with_the_reason(client, world):
    data = new_step(world, queue=world.orders.name)

    response = client.post(address("add_step", world.flow), data)

    assert response["X-Form-Outcome"] == "refused"
    assert response.context["form"].errors["queue"] == [
        "The queue 'orders' feeds the step 'reserve' of the flow 'order-processing' already."
        " A queue feeds one step."
    ]
    assert Step.objects.count() == 2


@pytest.mark.parametrize("name", ["charge", "reserve"])
def test_two_steps_of_one_name_are_refused(client, world, name):
    response = client.post(address("add_step", world.flow), new_step(world, name=name))

    assert response["X-Form-Outcome"] == "refused"
    assert "Another step of this flow has this name" in response.content.decode()


def test_a_step_without_threads_is_refused(client, world):
    step = world.flow.steps.get(name="reserve")
    data = {"name": "reserve", "script": step.script.name, "queue": step.queue.name, "threads": 0}

    response = client.post(address("save_step", world.flow, step.pk, "step"), data)

    assert response["X-Form-Outcome"] == "refused"
    assert "from 1 to 1,000" in response.content.decode()


def test_a_step_is_removed(client, world):
    step = world.flow.steps.get(name="reserve")

    response = client.post(address("remove_step", world.flow, step.pk))

    assert response.status_code == 302
    assert step_names(world.flow) == ["charge"]


def test_a_role_mapping_is_given_on_the_flow_page(client, world, page):
    data = add_row(
        form_data(client.get(page)), "role_mappings", role=world.role.pk, right="operate"
    )

    client.post(page, data)

    assert set(world.flow.role_mappings.values_list("right", flat=True)) == {"start", "operate"}


def test_the_page_lists_the_recent_runs_also_after_many_changes_without_a_run(client, world, page):
    for number in range(8):
        world.flow.may_start = [str(number)]
        world.flow.save()
        world.flow.make_version()

    recent = client.get(page).context["recent_runs"]

    assert len(recent) == 5


def test_the_page_lists_the_recent_runs_of_the_flow_alone(client, world, page):
    other = Flow.objects.create(name="other").make_version()
    run = Run.objects.create(
        correlation_id="0190aaaa-0000-7000-8000-000000000001",
        flow_version=other,
        created_at=world.failed.created_at,
    )

    content = client.get(page).content.decode()

    assert str(world.failed.pk) in content
    assert str(run.pk) not in content


def test_flows_are_deactivated_from_the_list(client, world):
    act_on(client, reverse("admin:flows_flow_changelist"), "deactivate", world.flow)

    world.flow.refresh_from_db()
    assert world.flow.active is False


def test_start_form_begins_with_an_example_of_the_input_schema(client, world):
    response = client.get(start_page(world.flow))

    example = json.loads(response.context["form"].initial["payload"])
    assert example == {"orderId": "A-1001", "amount": 1}


def test_start_makes_a_run_of_the_user_and_shows_it(client, world, superuser):
    response = client.post(
        start_page(world.flow), {"payload": '{"orderId": "A-7", "amount": 3}'}, follow=True
    )

    run = Run.objects.order_by("-correlation_id").first()
    assert run is not None
    assert run.started_by == superuser
    assert response.redirect_chain[-1][0] == reverse("admin:flows_run_change", args=[run.pk])
    assert messages_of(response) == [f"Run {run.pk} was started."]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"orderId": "A-7"}', "is a required property"),
        ('{"orderId": "\\u0000", "amount": 1}', "cannot be stored"),
    ],
)
def test_start_refuses_a_bad_payload_with_the_reason(client, world, payload, reason):
    before = Run.objects.count()

    response = client.post(start_page(world.flow), {"payload": payload})

    assert response.status_code == 200
    assert any(reason in error for error in response.context["form"].errors["payload"])
    assert Run.objects.count() == before


def test_start_of_an_inactive_flow_is_refused_with_the_reason(client, world):
    world.flow.active = False
    world.flow.save()

    response = client.post(start_page(world.flow), {"payload": '{"orderId": "a", "amount": 1}'})

    assert "is inactive" in response.context["form"].non_field_errors()[0]


def test_start_says_when_the_first_queue_is_full(client, world, monkeypatch):
    def refuse(*args, **kwargs):
        raise QueueFull

    monkeypatch.setattr(engine, "start", refuse)

    response = client.post(start_page(world.flow), {"payload": "{}"})

    assert "full" in response.context["form"].non_field_errors()[0]


PAYLOAD = '{"orderId": "A-1", "amount": 1}'


def test_a_flow_is_paused_and_resumed_on_its_page(client, world, superuser):
    pause = reverse("admin:flows_flow_pause", args=[world.flow.pk])
    client.get(pause)
    world.flow.refresh_from_db()
    assert world.flow.paused is False

    shown = answer_dialog(client, pause)

    world.flow.refresh_from_db()
    assert (world.flow.paused, world.flow.paused_by) == (True, superuser)
    assert messages_of(shown) == ["Paused: order-processing."]
    assert "paused by root" in shown.content.decode()
    assert "/pause/" not in shown.content.decode()

    answer_dialog(client, reverse("admin:flows_flow_resume", args=[world.flow.pk]))

    world.flow.refresh_from_db()
    assert (world.flow.paused, world.flow.paused_by) == (False, None)


def test_flows_are_paused_and_resumed_from_the_list(client, world):
    changelist = reverse("admin:flows_flow_changelist")

    act_on(client, changelist, "pause_selected", world.flow)
    assert ">by root</small>" in client.get(changelist).content.decode()

    response = act_on(client, changelist, "resume_selected", world.flow)
    assert messages_of(response) == ["Resumed: order-processing."]
    assert not Flow.objects.filter(paused=True).exists()


def test_saving_a_paused_flow_leaves_it_paused(client, world, superuser, page):
    engine.pause(world.flow, user=superuser)

    client.post(page, form_data(client.get(page)))

    world.flow.refresh_from_db()
    assert (world.flow.paused, world.flow.paused_by) == (True, superuser)


def test_starting_while_the_flow_is_paused_says_that_it_waits(client, world):
    engine.pause(world.flow)
    assert "The flow is paused" in client.get(start_page(world.flow)).content.decode()

    response = client.post(start_page(world.flow), {"payload": PAYLOAD}, follow=True)

    assert "The flow is paused: a run waits until it is resumed." in messages_of(response)
    assert Message.objects.count() == 1


def test_starting_while_the_first_queue_is_paused_says_that_it_waits(client, world):
    engine.pause(world.orders)

    response = client.post(start_page(world.flow), {"payload": PAYLOAD}, follow=True)

    assert "The queue 'orders' is paused" in messages_of(response)[-1]


def test_a_step_is_made_a_join(client, world):
    step = world.flow.steps.get(name="charge")
    data = {"name": "charge", "script": step.script.name, "queue": step.queue.name, "threads": 4}
    data["_confirmed"] = ""

    client.post(address("save_step", world.flow, step.pk, "step"), data | {"join": "on"})

    assert world.flow.steps.get(name="charge").join is True
    assert world.flow.versions.first().steps.get(name="charge").join is True


@pytest.mark.parametrize(("text", "expected"), [("2 h", timedelta(hours=2)), ("", None)])
def test_the_longest_age_is_set_and_cleared(client, world, page, text, expected):
    client.post(page, form_data(client.get(page)) | {"max_age": text})

    world.flow.refresh_from_db()
    assert world.flow.max_age == expected


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("period", "rate"),
    [("1 min", (5, 60)), ("1 day", (5, 86_400)), ("0.5 s", None), ("2 days", None), ("0 s", None)],
)
def test_a_start_rate_is_set_with_its_period(client, world, page, period, rate):
    data = form_data(client.get(page)) | {"start_rate_count": "5", "start_rate_period": period}
    response = client.post(page, data | {"_confirmed": ""})

    world.flow.refresh_from_db()
    assert world.flow.start_rate == rate
    refusal = "Must be whole seconds, from 1 s to 1 day."
    assert (rate is None) == (refusal in response.content.decode())


@pytest.mark.parametrize("field", ["retention", "max_age"])
def test_runs_are_not_kept_and_do_not_live_for_no_time_at_all(client, world, page, field):
    response = client.post(page, form_data(client.get(page)) | {field: "0 s"})

    assert response.status_code == 200
    assert "Must be longer than zero." in response.content.decode()


def test_who_may_only_view_flows_cannot_pause_them(staff_client, world):
    client = staff_client("flows.view_flow")
    pause = reverse("admin:flows_flow_pause", args=[world.flow.pk])

    assert client.post(pause, {"_form_submitted": "True"}).status_code == 403
    world.flow.refresh_from_db()
    assert world.flow.paused is False


def test_the_page_shows_the_snippets_of_a_camel_route(client, world, page):
    Flow.objects.filter(pk=world.flow.pk).update(name='a "<b>"')

    shown = client.get(page).content.decode()

    for snippet in snippets('a "<b>"'):
        assert escape(snippet.code) in shown


def test_a_flow_that_is_not_saved_yet_has_no_snippets(client, world):
    shown = client.get(reverse("admin:flows_flow_add")).content.decode()

    assert "direct:callAsyncEngine" not in shown
