"""Versions of a flow: their author, what they changed, and how one is restored."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.html import escape

from flows.models import Consumer, Flow, FlowVersion, Queue, QueueState, Step, StepVersion
from scripts.models import Script
from tests.integration.admin.pages import answer_dialog, messages_of

CODE = "def run(message, context): return message"


def page_of(version, page="change"):
    return reverse(f"admin:flows_flowversion_{page}", args=[version.pk])


def steps_of(flow):
    return list(flow.steps.values_list("name", "queue__name", "threads", "join"))


@pytest.fixture
def first(world) -> FlowVersion:
    """Return the first version; the flow has other steps now, in another order."""
    first = world.flow.versions.get()
    reserve, charge = world.flow.steps.order_by("position")
    charge.delete()
    Step.objects.filter(pk=reserve.pk).update(position=5, threads=9, join=True)
    pack = Script.objects.create(name="pack", code=CODE)
    Step.objects.create(flow=world.flow, name="pack", script=pack, queue=world.spare, position=1)
    world.flow.make_version()
    return first


def test_restoring_brings_back_steps_order_queues_threads_and_joins(
    client, world, first, superuser
):
    shown = answer_dialog(client, page_of(first, "restore"))

    assert steps_of(world.flow) == [
        ("reserve", "orders", 4, False),
        ("charge", "billing", 4, False),
    ]
    latest = world.flow.versions.order_by("number").last()
    assert (latest.number, latest.author) == (3, superuser)
    assert messages_of(shown) == ["Restored: version 3 has the steps of version 1."]


def test_a_version_from_before_threads_were_recorded_keeps_the_present_ones(client, world, first):
    StepVersion.objects.filter(flow_version=first).update(threads=None)

    answer_dialog(client, page_of(first, "restore"))

    assert world.flow.steps.get(name="reserve").threads == 9


@pytest.mark.parametrize("why", ["script", "queue", "other flow"])
def test_what_cannot_be_restored_says_why_and_changes_nothing(client, world, first, why):
    charge = first.steps.get(name="charge")
    if why == "script":
        Step.objects.filter(flow=world.flow).exclude(name="pack").delete()
        Script.objects.get(pk=world.script.pk).delete()
    elif why == "queue":
        StepVersion.objects.filter(pk=charge.pk).update(queue=None)
    else:
        other = Flow.objects.create(name="other")
        Step.objects.create(flow=other, name="a", script=world.script, queue=world.billing)
    before = steps_of(world.flow)

    shown = answer_dialog(client, page_of(first, "restore"))

    said = {"script": "was removed", "queue": "was removed", "other flow": "of another flow now"}
    fields = shown.context["form"].fields.values()
    assert any(said[why] in field.help_text for field in fields)
    assert steps_of(world.flow) == before


def choices_of(client, version, key):
    fields = client.get(page_of(version, "restore_with")).context["form"].fields
    return [value for value, _ in fields[key].choices]


def test_a_script_and_a_queue_that_are_gone_are_restored_with_the_version(client, world, first):
    charge = first.steps.get(name="charge")
    Step.objects.filter(flow=world.flow).exclude(name="pack").delete()
    Script.objects.get(pk=world.script.pk).delete()
    QueueState.objects.filter(queue=world.billing).update(depth=0)
    Consumer.objects.all().delete()
    Queue.objects.filter(pk=world.billing.pk).update(size=77)
    queue = Queue.objects.get(pk=world.billing.pk)
    queue.save()
    queue.delete()
    chosen = {f"queue-{charge.pk}": "anew"}
    chosen |= {f"script-{step.pk}": "history" for step in first.steps.all()}

    client.post(page_of(first, "restore_with"), chosen)

    assert [name for name, *_ in steps_of(world.flow)] == ["reserve", "charge"]
    restored = Script.objects.get(name="reserve-goods")
    assert set(world.flow.steps.values_list("script", flat=True)) == {restored.pk}
    assert restored.input_schema == world.script.input_schema
    assert Queue.objects.get(name="billing").size == 77


def test_a_queue_that_is_made_again_leaves_the_one_alone_that_had_its_name(client, world, first):
    """Its queue has another name now, and feeds another flow."""
    charge = first.steps.get(name="charge")
    world.billing.name, world.billing.size = "parcels", 77
    world.billing.save()
    other = Flow.objects.create(name="other")
    Step.objects.create(flow=other, name="a", script=world.script, queue=world.billing)
    assert "anew" in choices_of(client, first, f"queue-{charge.pk}")

    client.post(page_of(first, "restore_with"), {f"queue-{charge.pk}": "anew"})

    made = world.flow.steps.get(name="charge").queue
    assert (made.name, made.size) == ("billing", 10_000)
    assert made.pk != world.billing.pk
    assert other.steps.get().queue.name == "parcels"


def test_another_script_and_another_queue_take_the_place_of_those_that_are_gone(
    client, world, first
):
    charge = first.steps.get(name="charge")
    pack = Script.objects.get(name="pack")
    free = Queue.objects.create(name="free")
    Step.objects.filter(flow=world.flow).exclude(name="pack").delete()
    Script.objects.get(pk=world.script.pk).delete()
    other = Flow.objects.create(name="other")
    Step.objects.create(flow=other, name="a", script=pack, queue=world.billing)
    chosen = {f"script-{step.pk}": pack.pk for step in first.steps.all()}
    assert "anew" not in choices_of(client, first, f"queue-{charge.pk}")

    client.post(page_of(first, "restore_with"), chosen | {f"queue-{charge.pk}": free.pk})

    assert list(world.flow.steps.values_list("name", "script__name", "queue__name")) == [
        ("reserve", "pack", "orders"),
        ("charge", "pack", "free"),
    ]


def test_the_names_of_what_is_gone_are_no_html(client, world, first):
    name = "<img src=x onerror=alert(1)>"
    first.steps.filter(name="charge").update(queue=None, queue_name=name)

    page = client.get(page_of(first, "restore_with")).content.decode()

    assert name not in page
    assert escape(name) in page


def test_a_queue_that_feeds_a_step_is_not_offered_in_place_of_another(client, world, first):
    charge = first.steps.get(name="charge")
    StepVersion.objects.filter(pk=charge.pk).update(queue=None)

    choices = choices_of(client, first, f"queue-{charge.pk}")
    refused = client.post(
        page_of(first, "restore_with"), {f"queue-{charge.pk}": str(world.orders.pk)}
    )

    assert str(world.orders.pk) not in choices
    assert refused.context["form"].errors
    assert "pack" in dict.fromkeys(name for name, *_ in steps_of(world.flow))


def test_the_page_of_a_version_says_what_it_changed(client, world, first):
    second = world.flow.versions.get(number=2)

    shown = client.get(page_of(second))

    texts = {(each.step, each.text) for each in shown.context["changes"]}
    assert {
        ("charge", "removed"),
        ("pack", "added"),
        ("reserve", "threads 4 → 9"),
        ("reserve", "is a join now"),
    } <= texts


def test_which_payloads_are_kept_is_among_the_changes_and_is_restored(client, world):
    first = world.flow.versions.get()
    Flow.objects.filter(pk=world.flow.pk).update(keep="nothing")
    second = Flow.objects.get(pk=world.flow.pk).make_version()

    shown = client.get(page_of(second))

    assert [each.text for each in shown.context["changes"]] == [
        "payloads kept: everything → nothing"
    ]
    answer_dialog(client, page_of(first, "restore"))
    assert Flow.objects.get(pk=world.flow.pk).keep == "everything"
    assert world.flow.versions.order_by("number").last().keep == "everything"


def test_versions_from_before_threads_were_recorded_are_current(world):
    StepVersion.objects.update(threads=None)

    assert world.flow.make_version().number == 1


def test_another_number_of_threads_makes_a_version(world):
    world.flow.steps.filter(name="reserve").update(threads=7)

    version = world.flow.make_version()

    assert (version.number, version.steps.get(name="reserve").threads) == (2, 7)


def test_a_version_that_a_start_makes_has_the_author_of_the_script(world):
    author = User.objects.create_user("author")
    script: Any = Script.objects.get(pk=world.script.pk)
    script._history_user = author
    script.code = CODE + "  # new"
    script.save()

    assert world.flow.make_version().author == author


def test_other_changes_have_no_author_that_is_not_named(world):
    Queue.objects.create(name="other")
    world.flow.steps.filter(name="reserve").update(name="book")

    assert world.flow.make_version().author is None


@pytest.mark.parametrize("rights", [("watch",), ("watch", "operate")])
def test_who_may_not_configure_the_flow_does_not_restore(
    staff_client, world, first, give_right, rights
):
    client = staff_client("flows.view_flow")
    for right in rights:
        give_right(right, world.flow)
    before = steps_of(world.flow)

    response = client.post(page_of(first, "restore"), {"_form_submitted": "True"})

    assert response.status_code == 403
    assert steps_of(world.flow) == before
