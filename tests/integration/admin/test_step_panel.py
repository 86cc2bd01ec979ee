"""The side panel of a flow's page: steps with their scripts and queues, edited in place."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flows import engine
from flows.admin.step_forms import default_name
from flows.models import Consumer, Flow, FlowTotals, Message, Queue, QueueState, Step
from scripts.models import Script
from tests.builders import ECHO, make_flow
from tests.integration.api.helpers import work_tasks

PART = {"HX-Request": "true"}
JAVASCRIPT = "const message = context.Data;\n\nsetData(message);\n"


def address(name, flow, *args):
    return reverse(f"admin:flows_flow_{name}", args=[flow.pk, *args])


def seen_of(response):
    return dict(
        zip(
            re.findall(r'action="[^"]*/steps/\d+/(\w+)/"', response.content.decode()),
            re.findall(r'name="_seen" value="([0-9a-f]{64})"', response.content.decode()),
            strict=True,
        )
    )


def names_of(flow):
    return [step.name for step in flow.steps.order_by("position")]


@pytest.fixture
def reserve(world) -> Step:
    return world.flow.steps.get(name="reserve")


@pytest.fixture
def other(db) -> Client:
    """Return the client of a second superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("other", password="secret"))
    return client


NEW = {
    "name": "Send mail",
    "script_choice": "new",
    "language": "python",
    "code": "def run(message, context):\n    return message\n",
    "queue_choice": "new",
    "threads": "4",
}


# New steps


def test_a_step_is_made_with_its_script_and_its_queue(client, world, superuser):
    response = client.post(address("add_step", world.flow), NEW, headers=PART)

    step = world.flow.steps.get(name="Send mail")
    assert response.status_code == 204
    assert json.loads(response["HX-Trigger"])["flow:close"] == {"focus": f"step-{step.pk}"}
    assert step.script.name == step.queue.name == "order-processing-send-mail"
    assert (step.queue.size, step.threads, step.join) == (10_000, 4, False)
    assert step.script.versions.get().author == superuser
    assert step.history.get().history_user == superuser
    assert LogEntry.objects.filter(user=superuser).count() == 3


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("0", ["Send mail", "reserve", "charge"]),
        ("reserve", ["reserve", "Send mail", "charge"]),
        ("charge", ["reserve", "charge", "Send mail"]),
        ("", ["reserve", "charge", "Send mail"]),
        ("999999", ["reserve", "charge", "Send mail"]),
    ],
)
def test_a_step_is_made_between_two_others(client, world, after, expected):
    known = {step.name: str(step.pk) for step in world.flow.steps.all()}

    client.post(address("add_step", world.flow), NEW | {"after": known.get(after, after)})

    assert names_of(world.flow) == expected


def test_javascript_begins_with_its_own_code_although_the_page_sent_that_of_python(client, world):
    client.post(address("add_step", world.flow), NEW | {"language": "javascript"})

    script = Script.objects.get(name="order-processing-send-mail")
    assert (script.language, script.code) == ("javascript", JAVASCRIPT)


WRONG_STEPS: list[Any] = [
    ({"name": ""}, "name", "required"),
    ({"name": "a\nb"}, "name", "control characters"),
    ({"code": "def run(:"}, "code", "line 1"),
    ({"script_name": "reserve-goods"}, "script_name", "already exists"),
    ({"queue_name": "a//b"}, "queue_name", "must not contain a slash"),
    ({"queue_name": "orders"}, "queue_name", "feeds the step 'reserve' of the flow 'order-"),
    ({"queue_name": "spare"}, "queue_name", "choose it as an existing queue"),
    ({"size": "0"}, "size", "of at least 1"),
    ({"threads": "-1"}, "threads", "from 1 to 1,000"),
    ({"script_choice": "existing", "script": "gone"}, "script", "no such script"),
    ({"script_choice": "existing"}, "script", "Choose a script"),
    ({"queue_choice": "existing", "queue": "gone"}, "queue", "no such queue"),
]


def test_a_new_step_that_is_wrong_says_so_at_the_field_and_leaves_nothing(client, world):
    for values, field, fault in WRONG_STEPS:
        response = client.post(address("add_step", world.flow), NEW | values, headers=PART)

        assert response["X-Form-Outcome"] == "refused", values
        assert fault in " ".join(response.context["form"].errors[field]), values
        assert (Step.objects.count(), Script.objects.count(), Queue.objects.count()) == (2, 1, 3), (
            values
        )


@pytest.mark.parametrize("flow", ["short", "f" * 100])
@pytest.mark.parametrize("step", ["check", "Prüfe es!", "???", "s" * 100])
def test_names_that_are_made_are_names_that_can_be_stored(flow, step):
    name = default_name(flow, step)

    Queue(name=name).clean()
    assert 0 < len(name) <= 100


def test_a_step_is_added_without_javascript(client, world):
    page = client.get(address("add_step", world.flow))

    response = client.post(address("add_step", world.flow), NEW, follow=True)

    assert "<html" in page.content.decode()
    assert response.redirect_chain[-1][0] == reverse(
        "admin:flows_flow_change", args=[world.flow.pk]
    )
    assert "The step Send mail was added." in response.content.decode()


# Changes in the panel


def test_the_code_is_saved_in_the_panel_and_makes_a_version(client, world, reserve, superuser):
    shown = client.get(address("step", world.flow, reserve.pk), headers=PART)
    code = "def run(message, context):\n    return {**message, 'seen': True}\n"

    response = client.post(
        address("save_step", world.flow, reserve.pk, "script"),
        {"code": code, "_seen": seen_of(shown)["script"], "_confirmed": ""},
        headers=PART,
    )

    script = Script.objects.get(pk=world.script.pk)
    assert response.status_code == 200
    assert script.code == code
    assert script.input_schema == world.script.input_schema
    assert script.current_version.author == superuser
    assert world.flow.versions.order_by("number").last().author == superuser


def test_the_code_is_examined_as_on_the_page_of_the_script(client, world, reserve):
    response = client.post(
        address("save_step", world.flow, reserve.pk, "script"), {"code": "import os"}, headers=PART
    )

    assert response["X-Form-Outcome"] == "refused"
    assert response.context["pane"]["form"].errors["code"]
    assert Script.objects.get(pk=world.script.pk).code == world.script.code


def test_the_queue_is_saved_in_the_panel(client, world, reserve):
    shown = client.get(address("step", world.flow, reserve.pk), headers=PART)
    panes = {pane["name"]: pane for pane in shown.context["panes"]}
    form = panes["queue"]["form"]
    data = {field.html_name: field.value() for field in form if field.value() is not None}
    data |= {"size": "500", "polling": "1 s", "_seen": panes["queue"]["seen_state"]}
    data["_confirmed"] = ""

    response = client.post(
        address("save_step", world.flow, reserve.pk, "queue"), data, headers=PART
    )

    queue = Queue.objects.get(pk=world.orders.pk)
    assert response.status_code == 200
    assert (queue.name, queue.size, queue.polling.total_seconds()) == ("orders", 500, 1)


def step_data(step, **values):
    given = {"name": step.name, "script": step.script.name, "queue": step.queue.name, "threads": 4}
    return given | {"_confirmed": ""} | values


def test_a_step_gets_another_free_queue(client, world, reserve):
    client.post(
        address("save_step", world.flow, reserve.pk, "step"), step_data(reserve, queue="spare")
    )

    reserve.refresh_from_db()
    assert reserve.queue == world.spare


def test_a_queue_that_feeds_another_step_is_refused_in_the_settings(client, world, reserve):
    response = client.post(
        address("save_step", world.flow, reserve.pk, "step"), step_data(reserve, queue="billing")
    )

    assert response["X-Form-Outcome"] == "refused"
    assert "feeds the step &#x27;charge&#x27;" in response.content.decode()


@pytest.mark.parametrize(
    ("part", "first", "second"),
    [
        ("script", {"code": "def run(m, context): return m"}, {"code": "def run(x, c): return x"}),
        ("queue", {"size": "600"}, {"max_deliveries": "4"}),
        ("step", {"threads": "7"}, {"join": "on"}),
    ],
)
def test_the_second_to_save_in_the_panel_sees_the_conflict(
    client, other, world, reserve, part, first, second
):
    shown = client.get(address("step", world.flow, reserve.pk), headers=PART)
    pane = {pane["name"]: pane for pane in shown.context["panes"]}[part]
    data = {f.html_name: f.value() for f in pane["form"] if f.value() not in (None, False)}
    data |= {"_seen": pane["seen_state"], "_confirmed": ""}
    save = address("save_step", world.flow, reserve.pk, part)
    assert other.post(save, data | first, headers=PART).status_code == 200

    refused = client.post(save, data | second, headers=PART)

    assert refused["X-Form-Outcome"] == "conflict"
    assert "Saved by another user meanwhile" in refused.content.decode()
    assert "other saved it" in refused.content.decode()
    again = {"_seen": refused.context["pane"]["seen_state"]}
    assert client.post(save, data | second | again, headers=PART).status_code == 200


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        (
            "script",
            {"code": "def run(m, context): return m"},
            "What becomes of runs under way?",
        ),
        (
            "queue",
            {"size": "10"},
            "more than the new size. They stay, and the steps before it wait",
        ),
        ("step", {"threads": "7"}, "What becomes of runs under way?"),
    ],
)
def test_a_change_that_touches_runs_is_asked_about_first(client, world, part, values, said):
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=10, completed=7)
    step = world.flow.steps.get(name="charge")
    shown = client.get(address("step", world.flow, step.pk), headers=PART)
    pane = {pane["name"]: pane for pane in shown.context["panes"]}[part]
    data = {f.html_name: f.value() for f in pane["form"] if f.value() not in (None, False)}
    data |= {"_seen": pane["seen_state"]} | values
    save = address("save_step", world.flow, step.pk, part)

    question = client.post(save, data, headers=PART)
    before = list(pane["obj"].history.all())
    saved = client.post(save, data | {"_confirmed": ""}, headers=PART)

    assert question["X-Form-Outcome"] == "refused"
    assert said in question.content.decode()
    assert 'name="_confirmed"' in question.content.decode()
    assert "<ins>" in question.content.decode() or 'class="diff-new"' in question.content.decode()
    assert saved.status_code == 200
    assert len(pane["obj"].history.all()) == len(before) + 1


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("script", {"code": "def run(message, context): return {}"}),
        ("step", {"threads": "7"}),
        ("queue", {"size": "0"}),
    ],
)
def test_runs_that_wait_go_on_with_the_version_that_the_panel_saves_if_that_is_chosen(
    client, part, values
):
    flow = make_flow(codes=[ECHO])
    engine.start("flow", {})
    save = address("save_step", flow, flow.steps.get().pk, part)
    shown = client.get(address("step", flow, flow.steps.get().pk), headers=PART)
    pane = {pane["name"]: pane for pane in shown.context["panes"]}[part]
    data = {f.html_name: f.value() for f in pane["form"] if f.value() not in (None, False)}
    data |= {"_seen": pane["seen_state"]} | values

    question = client.post(save, data, headers=PART).content.decode()
    client.post(save, data | {"_confirmed": "", "_runs": "newest"}, headers=PART)
    work_tasks()

    assert ('name="_runs"' in question) is (part != "queue")
    assert Message.objects.get().step.flow_version.number == (1 if part == "queue" else 2)


# Moving


def test_a_step_of_a_flow_in_use_is_moved_after_a_question(client, world):
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=10, completed=7)
    before = names_of(world.flow)
    version = world.flow.versions.order_by("number").last()
    last = world.flow.steps.get(name=before[-1])
    move = {"move": f"{last.pk}:0"}

    question = client.post(address("move_step", world.flow), move, headers=PART)
    asked = question.content.decode()

    assert names_of(world.flow) == before
    assert world.flow.versions.order_by("number").last() == version
    assert question["HX-Retarget"] == "#flow-panel-content"
    assert "Runs under way finish on the version" in asked
    assert f"→ <del>{last.name}</del>" in asked
    assert f"<ins>{last.name}</ins> →" in asked

    sent = dict(re.findall(r'name="(_confirmed|order|move)" value="([^"]*)"', asked))
    moved = client.post(address("move_step", world.flow), sent, headers=PART)

    assert names_of(world.flow) == [last.name, *before[:-1]]
    assert "Move it back" in moved.content.decode()


def test_the_question_is_a_page_where_a_browser_has_no_javascript(client, world):
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=1)
    before = names_of(world.flow)
    last = world.flow.steps.get(name=before[-1])

    question = client.post(address("move_step", world.flow), {"move": f"{last.pk}:0"})
    sent = dict(
        re.findall(r'name="(_confirmed|order|move)" value="([^"]*)"', question.content.decode())
    )
    moved = client.post(address("move_step", world.flow), sent, follow=True)

    assert "Not moved yet" in question.content.decode()
    assert "is step 1 now" in moved.content.decode()
    assert names_of(world.flow) == [last.name, *before[:-1]]


def test_a_question_about_another_order_moves_nothing(client, other, world):
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=1)
    before = names_of(world.flow)
    first, last = (world.flow.steps.get(name=before[place]) for place in (0, -1))
    question = client.post(address("move_step", world.flow), {"move": f"{last.pk}:0"})
    sent = dict(
        re.findall(r'name="(_confirmed|order|move)" value="([^"]*)"', question.content.decode())
    )
    other.post(address("remove_step", world.flow, first.pk))

    refused = client.post(address("move_step", world.flow), sent, headers=PART)

    assert refused["X-Form-Outcome"] == "conflict"
    assert "another user has changed the steps" in refused.content.decode()
    assert names_of(world.flow) == before[1:]


def test_the_question_names_the_ways_that_a_move_takes(client, world):
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=1)
    first, *_, last = world.flow.steps.order_by("position")
    Step.objects.filter(pk=first.pk).update(goes_to=[last.name])

    question = client.post(address("move_step", world.flow), {"move": f"{last.pk}:0"})

    assert f"{first.name} cannot go to {last.name} any more." in question.content.decode()


def test_a_step_of_a_flow_that_is_not_in_use_moves_at_once_and_back(client, world):
    QueueState.objects.update(depth=0)
    FlowTotals.objects.all().delete()
    before = names_of(world.flow)
    last = world.flow.steps.get(name=before[-1])

    moved = client.post(address("move_step", world.flow), {"move": f"{last.pk}:0"}, headers=PART)
    order = names_of(world.flow)
    back = dict(re.findall(r'name="(order|move)" value="([^"]*)"', moved.content.decode()))
    client.post(address("move_step", world.flow), back, headers=PART)

    assert order == [last.name, *before[:-1]]
    assert names_of(world.flow) == before


def test_the_form_of_a_new_step_says_that_the_flow_is_in_use(client, world):
    QueueState.objects.update(depth=0)
    FlowTotals.objects.all().delete()
    idle = client.get(address("add_step", world.flow), headers=PART).content.decode()
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=10, completed=7)
    in_use = client.get(address("add_step", world.flow), headers=PART).content.decode()

    assert "The flow is in use." not in idle
    assert "The flow is in use." in in_use
    assert "Runs under way finish on the version" in in_use


# Removing


def test_an_empty_queue_is_removed_with_its_step_when_asked_for(client, world, reserve):
    Consumer.objects.all().delete()

    client.post(address("remove_step", world.flow, reserve.pk), {"with_queue": "1"})

    assert names_of(world.flow) == ["charge"]
    assert not Queue.objects.filter(name="orders").exists()


def test_a_queue_stays_unless_it_is_asked_for(client, world, reserve):
    client.post(address("remove_step", world.flow, reserve.pk))

    assert Queue.objects.filter(name="orders").exists()


@pytest.mark.parametrize("why", ["messages", "runs", "dead letters", "worker"])
def test_a_queue_that_is_still_needed_stays_with_the_reason(client, world, why):
    step = world.flow.steps.get(name="charge" if why == "dead letters" else "reserve")
    QueueState.objects.filter(queue=world.billing).update(depth=0)
    if why != "worker":
        Consumer.objects.all().delete()
    if why == "messages":
        QueueState.objects.filter(queue=world.orders).update(depth=3)
    if why == "runs":
        FlowTotals.objects.create(flow_name=world.flow.name, accepted=2, completed=1)
    remove = address("remove_step", world.flow, step.pk)

    asked = client.get(remove, headers=PART)
    response = client.post(remove, {"with_queue": "1"}, headers=PART)

    assert why in asked.content.decode()
    assert response["X-Form-Outcome"] == "refused"
    assert names_of(world.flow) == ["reserve", "charge"]


def test_messages_of_a_removed_step_are_not_lost(client, world, reserve):
    engine.start(world.flow.name, b'{"orderId": "A-1", "amount": 1}')

    asked = client.get(address("remove_step", world.flow, reserve.pk), headers=PART)
    client.post(address("remove_step", world.flow, reserve.pk))

    assert "1 message</b>" in asked.content.decode()
    assert Message.objects.filter(queue=world.orders).count() == 1


# What the cards show


def cards(client, flow):
    response = client.get(address("live_steps", flow), headers=PART)
    assert response.status_code == 200
    return response.content.decode()


def test_the_cards_show_the_figures_of_the_steps(client, world):
    shown = cards(client, world.flow)

    assert re.search(r"<b>12</b>\s+of 10,000", shown)
    assert ">1</a>" in shown
    assert "data-live" in shown
    assert 'hx-trigger="every 5s' in shown


def test_the_cards_say_why_a_step_stands_still(client, world, superuser):
    engine.pause(world.orders, user=superuser)
    QueueState.objects.filter(queue=world.billing).update(depth=10_000)

    shown = cards(client, world.flow)

    assert "The queue &#x27;orders&#x27; is paused by root" in shown
    assert "flow-card--full" in shown


def test_fan_out_and_join_are_marked(client, world):
    Script.objects.filter(pk=world.script.pk).update(
        code="def run(message, context):\n    return [message, message]\n"
    )
    world.flow.steps.filter(name="charge").update(join=True)

    shown = cards(client, world.flow)

    assert "fan-out" in shown
    assert "</span>join</span>" in shown


def test_the_number_of_queries_does_not_grow_with_the_steps(
    client, world, django_assert_max_num_queries
):
    for at in range(12):
        queue = Queue.objects.create(name=f"q{at}")
        Step.objects.create(
            flow=world.flow, name=f"s{at}", script=world.script, queue=queue, position=at + 2
        )
    world.flow.make_version()

    with django_assert_max_num_queries(18):
        cards(client, world.flow)


def test_a_flow_without_steps_is_shown_as_incomplete(client, world):
    flow = Flow.objects.create(name="bare")

    shown = client.get(reverse("admin:flows_flow_changelist")).content.decode()

    assert "incomplete: add a step" in shown
    assert "incomplete: refuses starts" in cards(client, flow)
    assert "Add the first step" in cards(client, flow)


def test_the_calls_have_the_address_and_an_example_of_the_schema(client, world, settings):
    shown = client.get(reverse("admin:flows_flow_change", args=[world.flow.pk])).context["calls"]

    by_name = {call.name: call.code for call in shown}
    assert list(by_name)[:3] == ["curl", "Python", "JavaScript"]
    for name in ("curl", "Python", "JavaScript"):
        assert "http://testserver/async/api/flows/order-processing/start" in by_name[name]
        assert "A-1001" in by_name[name]
    compile(by_name["Python"], "call", "exec")


# Rights


@pytest.mark.parametrize("rights", [("start",), ("watch",)])
def test_who_may_only_see_the_flow_gets_cards_without_controls(
    staff_client, world, give_right, rights, reserve
):
    client = staff_client("flows.view_flow")
    for right in rights:
        give_right(right, world.flow)

    shown = cards(client, world.flow)

    assert "reserve" in shown
    assert ("of 10,000" in shown) is ("watch" in rights)
    for control in ("flow-plus", "flow-add", "flow-menu", "flow-move", "x-sort"):
        assert f'"{control}' not in shown
    panel = client.get(address("step", world.flow, reserve.pk), headers=PART).content.decode()
    assert "<form" not in panel
    for name, args in {
        "add_step": (),
        "move_step": (),
        "remove_step": (reserve.pk,),
        "save_step": (reserve.pk, "step"),
    }.items():
        assert client.post(address(name, world.flow, *args), NEW).status_code == 403


def test_the_steps_of_a_flow_that_is_not_seen_are_not_shown(staff_client, world, give_right):
    client = staff_client("flows.view_flow", "flows.change_flow", "flows.change_step")
    other = Flow.objects.create(name="other")
    give_right("watch", other)

    assert client.get(address("live_steps", world.flow)).status_code == 403
    assert client.post(address("move_step", world.flow), {"move": "1:0"}).status_code == 403
