"""The page of a flow in a browser: made, moved and edited with few clicks, and by keyboard."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.urls import reverse

from flows import engine
from flows.models import Flow, FlowTotals, Message, Queue, Run, Step
from scripts.models import Script
from tests.builders import work_until_idle
from tests.integration.api.helpers import work_tasks
from tests.waiting import wait_for

CODE = "def run(message, context):\n    return message\n"
MOST_CLICKS = 12

COUNT_CLICKS = """
addEventListener("click", (event) => {
    if (!event.isTrusted || event.detail === 0) return;
    sessionStorage.clicks = Number(sessionStorage.clicks || 0) + 1;
}, true);
"""


def page_of(flow: Flow) -> str:
    return reverse("admin:flows_flow_change", args=[flow.pk])


def names_of(flow: Flow) -> list[str]:
    return [step.name for step in flow.steps.order_by("position")]


@pytest.fixture
def flow(live: str) -> Flow:
    flow = Flow.objects.create(name="orders")
    for position, name in enumerate(("read", "check", "send")):
        script = Script.objects.create(name=name, code=CODE)
        queue = Queue.objects.create(name=name)
        Step.objects.create(flow=flow, name=name, script=script, queue=queue, position=position)
    return flow


def test_a_flow_of_three_steps_and_its_run_take_few_clicks_and_no_window(page: Any) -> None:
    windows: list[Any] = []
    page.on("popup", lambda window: windows.append(window))
    page.add_init_script(COUNT_CLICKS)
    page.goto(reverse("admin:flows_flow_changelist"))

    page.locator("a.addlink").click()
    page.fill("#id_name", "orders")
    page.get_by_role("button", name="Make the flow").click()
    for name in ("read", "check", "send"):
        page.locator("#flow-add").click()
        page.locator("dialog[open] [data-step-name]").wait_for()
        page.keyboard.type(name)
        page.get_by_role("button", name="Add step").click()
        page.locator(".flow-card", has_text=name).wait_for()

    flow = Flow.objects.get(name="orders")
    assert names_of(flow) == ["read", "check", "send"]
    assert {step.queue.name for step in flow.steps.all()} == {
        "orders-read",
        "orders-check",
        "orders-send",
    }
    page.get_by_role("link", name="Start", exact=True).click()
    page.wait_for_url("**/start/")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/run/*/change/")
    work_until_idle(flow)
    # The page refreshes itself until the run ends.
    page.get_by_text("COMPLETED", exact=True).first.wait_for()
    assert Run.objects.get().status == Run.Status.COMPLETED
    assert windows == []
    assert 0 < int(page.evaluate("sessionStorage.clicks")) <= MOST_CLICKS


def test_a_card_is_moved_by_the_keyboard_and_said_aloud(page: Any, flow: Flow) -> None:
    send = flow.steps.get(name="send")
    page.goto(page_of(flow))

    page.locator(f"#step-{send.pk}-menu").focus()
    page.keyboard.press("Enter")
    page.locator(f"#step-{send.pk}-items").wait_for()
    page.wait_for_function("document.activeElement.textContent.includes('Move left')")
    page.keyboard.press("Enter")
    page.locator("#flow-announce", has_text="send is step 2 now.").wait_for(state="attached")
    page.wait_for_function(f"document.activeElement.id === 'step-{send.pk}-menu'")

    assert names_of(flow) == ["read", "send", "check"]


def test_a_move_in_a_flow_in_use_is_asked_about_and_taken_back(page: Any, flow: Flow) -> None:
    FlowTotals.objects.create(flow_name=flow.name, accepted=3, completed=1)
    send = flow.steps.get(name="send")
    page.goto(page_of(flow))

    def move_left() -> None:
        page.locator(f"#step-{send.pk}-menu").click()
        page.locator(f"#step-{send.pk}-items").get_by_text("Move left").click()
        page.locator("dialog[open]", has_text="the flow is in use").wait_for()

    move_left()
    page.get_by_role("button", name="Keep the order").click()
    page.locator("dialog[open]").wait_for(state="detached")
    page.wait_for_function(f"document.activeElement.id === 'step-{send.pk}-menu'")
    assert names_of(flow) == ["read", "check", "send"]

    move_left()
    page.get_by_role("button", name="Move the step").click()
    page.locator("#flow-moved", has_text="send is step 2 now.").wait_for()
    page.locator("dialog[open]").wait_for(state="detached")
    page.wait_for_function(f"document.activeElement.id === 'step-{send.pk}-menu'")
    assert names_of(flow) == ["read", "send", "check"]

    page.get_by_role("button", name="Move it back").click()
    page.get_by_role("button", name="Move the step").click()
    page.locator("#flow-moved", has_text="send is step 3 now.").wait_for()
    assert names_of(flow) == ["read", "check", "send"]


@pytest.mark.long
def test_a_card_that_was_dragged_goes_back_when_the_question_is_left(page: Any, flow: Flow) -> None:
    FlowTotals.objects.create(flow_name=flow.name, accepted=3, completed=1)
    page.goto(page_of(flow))
    page.wait_for_function("window.Alpine !== undefined")
    page.locator(".flow-card", has_text="send").locator(".flow-grip").hover()
    place = page.locator(".flow-card").first.bounding_box()

    page.mouse.down()
    drag_until(page, place, "document.querySelector('.flow-card').textContent.includes('send')")
    page.mouse.up()
    page.locator("dialog[open]", has_text="the flow is in use").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")

    page.wait_for_function("document.querySelector('.flow-card').textContent.includes('read')")
    assert names_of(flow) == ["read", "check", "send"]


@pytest.mark.long
def test_a_card_is_dragged_to_another_place(page: Any, flow: Flow) -> None:
    page.goto(page_of(flow))
    page.wait_for_function("window.Alpine !== undefined")
    page.locator(".flow-card", has_text="send").locator(".flow-grip").hover()
    # The cards may just be loaded again.
    place = wait_for(page.locator(".flow-card").first.bounding_box, what="a card")

    page.mouse.down()
    drag_until(page, place, "document.body.classList.contains('sorting')")
    drag_until(page, place, "document.querySelector('.flow-card').textContent.includes('send')")
    page.mouse.up()
    page.locator("#flow-announce", has_text="send is step").wait_for(state="attached")

    assert names_of(flow)[0] == "send"


def drag_until(page: Any, place: dict[str, float], condition: str) -> None:
    """Move what is dragged about a place: a busy page takes it up, and makes room for it, late."""
    steps = itertools.cycle((20, 24))

    def moved() -> bool:
        page.mouse.move(place["x"] + next(steps), place["y"] + 30)
        return bool(page.evaluate(condition))

    wait_for(moved, what=condition)


@pytest.mark.long
def test_the_panel_keeps_the_focus_and_what_is_not_saved(page: Any, flow: Flow) -> None:
    check = flow.steps.get(name="check")
    page.goto(page_of(flow))
    page.locator(f"#step-{check.pk}").focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open] [role=tab]").first.wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
    assert page.evaluate(
        "document.activeElement === document.body"
        " || document.querySelector('dialog').contains(document.activeElement)"
    )

    page.get_by_role("tab", name="Step").click()
    page.fill("#panel-step-threads", "9")
    page.keyboard.press("Escape")
    page.get_by_text("There are unsaved changes.").wait_for()
    page.get_by_role("button", name="Keep editing").click()
    page.get_by_role("button", name="Save step").click()
    page.get_by_text("Saved.", exact=True).wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(f"#step-{check.pk}-card", has_text="/9").wait_for()

    assert flow.steps.get(name="check").threads == 9


@pytest.mark.long
def test_code_is_edited_in_the_panel_and_a_fault_is_shown_at_its_line(
    page: Any, flow: Flow
) -> None:
    read = flow.steps.get(name="read")
    page.goto(page_of(flow))
    page.locator(f"#step-{read.pk}").click()
    page.locator("dialog[open] .ace_editor").wait_for()
    write = "code => document.querySelector('dialog textarea[data-editor]').editor.setValue(code)"

    page.watched.expected += ["status of 4", "Response Status Error Code 4"]
    page.evaluate(write, "import os\n")
    page.get_by_role("button", name="Save script").click()
    page.locator("dialog .flow-field__errors li").first.wait_for()
    page.evaluate(write, CODE.replace("return message", "return {**message}"))
    page.get_by_role("button", name="Save script").click()
    page.get_by_text("Saved.", exact=True).wait_for()
    page.locator(f"#step-{read.pk}-card", has_text="v2").wait_for(state="attached")

    assert "{**message}" in Script.objects.get(name="read").code


@pytest.mark.long
def test_the_panel_asks_what_becomes_of_runs_and_shows_the_code_once(page: Any, flow: Flow) -> None:
    run = engine.start("orders", {}).correlation_id
    read = flow.steps.get(name="read")
    page.goto(page_of(flow))
    page.locator(f"#step-{read.pk}").click()
    page.locator("dialog[open] .ace_editor").wait_for()
    write = "code => document.querySelector('dialog textarea[data-editor]').editor.setValue(code)"
    page.evaluate(write, CODE.replace("return message", "return {**message}"))
    page.get_by_role("button", name="Save script").click()
    page.get_by_text("What becomes of runs under way?").wait_for()
    # htmx settles what it has put in its place a moment later.
    page.wait_for_function("!document.querySelector('.htmx-settling, .htmx-added')")

    assert page.locator("dialog textarea[data-editor]:visible").count() == 0
    assert page.locator("dialog .editor:visible").count() == 1
    page.get_by_text("Those that wait go on").click()
    page.get_by_role("button", name="Save it all the same").click()
    page.get_by_text("Saved.", exact=True).wait_for()
    work_tasks()

    assert Message.objects.get(pk=run).step.script_version.number == 2
