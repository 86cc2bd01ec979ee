"""A change that touches runs, messages or callers is shown before it is saved."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from flows import engine
from flows.models import (
    AuditEntry,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
)
from flows.monitoring.impact import KEPT_VERSION, NEW_STARTS, callers_of, impact_of
from scripts.models import Script
from tests.builders import ECHO, make_flow
from tests.integration.admin.pages import form_data, hidden_fields
from tests.integration.admin.world import make_run
from tests.integration.api.helpers import work_tasks

pytestmark = pytest.mark.django_db


def page_of(obj: Any) -> str:
    return f"/admin/{obj._meta.app_label}/{obj._meta.model_name}/{obj.pk}/change/"


def send(client: Client, obj: Any, **values: Any) -> Any:
    data = form_data(client.get(page_of(obj)), confirmed=False)
    return client.post(page_of(obj), data | values)


@pytest.fixture
def busy(world) -> Any:
    """Return the world with totals of its flow: 3 runs under way and 264 open dead letters."""
    FlowTotals.objects.create(
        flow_name="order-processing", accepted=10, completed=7, letters_made=300, letters_decided=36
    )
    return world


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("flow", {"name": "orders-2"}),
        ("flow", {"active": ""}),
        ("billing", {"name": "bills"}),
        ("billing", {"size": "10"}),
        ("billing", {"max_deliveries": "2"}),
        ("script", {"code": "def run(message, context):\n    return {}"}),
        ("script", {"memory_mb": "64"}),
    ],
)
def test_change_that_touches_more_is_asked_about_and_saved_when_confirmed(
    client, busy, kind, values
):
    obj = getattr(busy, kind)
    model = type(obj)
    before = model.objects.filter(pk=obj.pk).values().get()

    question = send(client, obj, **values)

    assert question.status_code == 200
    assert question.templates[0].name == "admin/confirmation.html"
    assert model.objects.filter(pk=obj.pk).values().get() == before

    saved = client.post(page_of(obj), hidden_fields(question) | {"_confirmed": ""})

    assert saved.status_code == 302
    assert model.objects.filter(pk=obj.pk).values().get() != before


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("flow", {"description": "of the shop"}),
        ("billing", {"polling": "250 ms"}),
        ("billing", {"size": "12"}),
        ("spare", {"max_deliveries": "2"}),
        ("script", {"description": "reserves"}),
    ],
)
def test_small_change_is_saved_at_once(client, busy, kind, values):
    assert send(client, getattr(busy, kind), **values).status_code == 302


def test_flow_without_runs_is_saved_at_once(client, world):
    QueueState.objects.update(depth=0)

    assert not impact_of(world.flow, {"steps"})
    assert send(client, world.script, memory_mb="64").status_code == 302


def test_question_shows_counts_the_difference_and_what_becomes_of_runs(client, busy):
    code = "def run(message, context):\n    return {'a': 1}"

    html = unescape(send(client, busy.script, code=code).content.decode())

    assert "order-processing" in html
    assert re.findall(r'text-right">([\d,]+)</td>', html) == ["3", "12", "264"]
    assert NEW_STARTS in html
    assert "They finish on their version." in html
    assert "    return {'a': 1}</td>" in html


@pytest.mark.parametrize(("chosen", "number"), [("newest", 2), ("", 1)])
def test_the_user_chooses_whether_runs_that_wait_go_on_with_the_new_version(
    client, superuser, chosen, number
):
    flow = make_flow(codes=[ECHO])
    engine.start("flow", {})
    code = "def run(message, context):\n    return {'payload': 2}"

    question = send(client, flow.steps.get().script, code=code)
    sent = hidden_fields(question) | {"_confirmed": "", "_runs": chosen}
    saved = client.post(question.request["PATH_INFO"], sent)
    work_tasks()

    assert 'name="_runs" value="newest"' in question.content.decode()
    assert saved.status_code == 302
    assert Message.objects.get().step.flow_version.number == number
    upgrades = AuditEntry.objects.filter(verb="upgrade", name="flow").values_list("actor")
    assert list(upgrades) == ([(superuser.username,)] if chosen else [])


def test_a_change_without_a_new_version_has_no_such_choice(client, busy):
    assert 'name="_runs"' not in send(client, busy.flow, active="").content.decode()


def test_user_goes_on_editing_with_everything_that_was_entered(client, busy):
    question = send(client, busy.flow, name="orders-2", description="of the shop")

    page = client.post(page_of(busy.flow), hidden_fields(question) | {"_edit": ""})

    form = page.context["adminform"].form
    assert (form["name"].value(), form["description"].value()) == ("orders-2", "of the shop")
    assert not form.errors
    assert Flow.objects.get(pk=busy.flow.pk).name == "order-processing"


def test_form_with_errors_shows_its_errors_first(client, busy):
    response = send(client, busy.flow, name="a/b")

    assert response.templates[0].name != "admin/confirmation.html"
    assert response.context["adminform"].form.errors


def test_callers_of_a_name_that_goes_are_named(busy, superuser):
    version = busy.flow.make_version()
    make_run(version, Run.Status.COMPLETED, started_by=superuser)
    make_run(version, Run.Status.COMPLETED)

    notes = impact_of(busy.flow, {"name"}).notes

    assert callers_of(busy.flow) == ["root"]
    # Also where no run has begun since the last change.
    busy.flow.may_start = ["another"]
    busy.flow.save()
    busy.flow.make_version()
    assert callers_of(busy.flow) == ["root"]
    assert notes == [
        "Callers of /async/api/flows/order-processing/start get 404 from then on.",
        "Its newest runs were started by root.",
    ]


def test_flows_that_the_user_may_not_see_have_no_name_in_the_question(
    staff_client, busy, give_right
):
    client = staff_client("scripts.view_script", "scripts.change_script")

    html = send(client, busy.script, memory_mb="64").content.decode()

    assert "a flow that you may not see" in html
    assert "order-processing" not in html


@pytest.mark.parametrize("changed", ["name", "script", "queue", "threads", "join", "position"])
def test_change_of_a_step_touches_the_runs_of_its_flow(busy, changed):
    found = impact_of(busy.flow.steps.first(), {changed})

    assert found.notes == [KEPT_VERSION]
    assert [(flow.name, flow.under_way) for flow in found.flows] == [("order-processing", 3)]


def test_impact_needs_few_queries_whatever_there_is(busy, django_assert_max_num_queries):
    for number in range(30):
        flow = Flow.objects.create(name=f"flow {number}")
        queue = Queue.objects.create(name=f"queue {number}")
        Step.objects.create(flow=flow, name="a", script=busy.script, queue=queue)
        FlowTotals.objects.create(flow_name=flow.name, accepted=1)

    with django_assert_max_num_queries(4):
        found = impact_of(Script.objects.get(pk=busy.script.pk), {"code"})

    assert len(found.flows) == 31
    assert (found.under_way, found.waiting) == (33, 12)


def test_conflict_tells_what_each_of_both_has_changed(client, world):
    queue = world.spare
    url = page_of(queue)
    page = client.get(url)
    seen = hidden_fields(page)
    sent = form_data(page) | {name: seen[name] for name in ("_seen", "_seen_fields")}
    Queue.objects.filter(pk=queue.pk).update(size=600, max_deliveries=9)

    conflict = client.post(url, sent | {"max_deliveries": "7", "backoff_jitter": "0.5"})

    parts = {
        part["title"]: [(v.title, v.before, v.after) for v in part["diff"].values]
        for part in conflict.context["parts"]
    }
    assert conflict["X-Form-Outcome"] == "conflict"
    assert parts == {
        "Saved meanwhile": [("Size", "10000", "600")],
        "Your changes, not saved yet": [("Jitter", "0.2", "0.5")],
        "Changed by both: as it is stored, and as you have it": [("Max deliveries", "9", "7")],
    }


@pytest.mark.parametrize("digests", ["", "{", "[]", json.dumps({"size": 7})])
def test_conflict_is_shown_whatever_the_page_says_it_has_seen(client, world, digests):
    url = page_of(world.spare)
    page = client.get(url)
    sent = form_data(page) | {"_seen": hidden_fields(page)["_seen"], "_seen_fields": digests}
    Queue.objects.filter(pk=world.spare.pk).update(size=600)

    conflict = client.post(url, sent | {"backoff_jitter": "0.5"})

    assert conflict["X-Form-Outcome"] == "conflict"
    assert Queue.objects.get(pk=world.spare.pk).size == 600


def test_what_goes_on_under_an_earlier_name_of_the_flow_is_told(busy):
    """Runs are counted under the name that they started with."""
    busy.flow.name = "orders"
    busy.flow.save()
    busy.flow.make_version()

    impact = impact_of(busy.flow, {"steps"})

    assert KEPT_VERSION in impact.notes
    assert (impact.under_way, impact.flows[0].dead_letters) == (3, 264)


def test_what_goes_on_under_a_name_belongs_to_the_flow_that_has_it_now(busy):
    busy.flow.name = "orders"
    busy.flow.save()
    busy.flow.make_version()
    other = Flow.objects.create(name="order-processing")

    assert [impact_of(each, {"steps"}).under_way for each in (busy.flow, other)] == [0, 3]
