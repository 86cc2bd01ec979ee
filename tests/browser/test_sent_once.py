"""A double click, and Enter pressed twice, do what they ask for once."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from flows import engine
from flows.models import Flow, Message, Queue, Run
from tests.builders import ECHO, make_flow, work_until_idle
from tests.waiting import wait_for

pytestmark = pytest.mark.long


@pytest.fixture
def flow(live: str) -> Flow:
    """Return a flow with a run that has completed, and four that wait in a paused queue."""
    flow = make_flow("orders", [ECHO])
    engine.start_many(flow.name, [{}])
    work_until_idle(flow)
    engine.start_many(flow.name, [{}] * 4)
    engine.pause(Queue.objects.get())
    return flow


def bypassing() -> int:
    return Message.objects.filter(bypasses_pause=True).count()


def posts_of(page: Any) -> list[str]:
    found: list[str] = []
    page.on("request", lambda each: found.append(each.url) if each.method == "POST" else None)
    return found


@pytest.mark.parametrize("way", ["double click", "Enter twice"])
def test_let_one_through_lets_one_through(page: Any, flow: Flow, way: str) -> None:
    posts = posts_of(page)
    page.goto(reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]))
    page.get_by_role("link", name="Let one through", exact=True).click()
    dialog = page.get_by_role("dialog")
    if way == "double click":
        dialog.get_by_role("button", name="Let one through", exact=True).dblclick()
    else:
        reason = dialog.get_by_label("Reason")
        reason.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")

    page.get_by_text("One run goes on.").wait_for()
    page.wait_for_load_state("networkidle")

    assert bypassing() == 1
    assert len(posts) == 1
    assert page.get_by_text("One run goes on.").count() == 1


def test_start_again_starts_one_run(page: Any, flow: Flow) -> None:
    completed = Run.objects.get(status=Run.Status.COMPLETED)
    before = Run.objects.count()
    page.goto(reverse("admin:flows_run_change", args=[completed.pk]))
    page.get_by_role("link", name="Start again", exact=True).click()

    page.get_by_role("dialog").get_by_role("button", name="Start a new run").dblclick()
    page.get_by_text(f"This run was started with the payload of {completed.pk}.").wait_for()

    assert Run.objects.count() == before + 1


def without_scripts(page: Any, browser: Any, live: str) -> Any:
    """Return a page of the same session that runs no JavaScript."""
    state = page.context.storage_state()
    context = browser.new_context(base_url=live, java_script_enabled=False, storage_state=state)
    return context.new_page()


def test_pages_show_without_javascript(page: Any, browser: Any, live: str, flow: Flow) -> None:
    plain = without_scripts(page, browser, live)
    run = Run.objects.first()
    words = {
        reverse("admin:index"): "orders",
        reverse("admin:flows_run_changelist"): "orders",
        reverse("admin:flows_run_change", args=[run.pk]): "orders",
        reverse("admin:flows_flow_changelist"): "orders",
        reverse("admin:flows_flow_start", args=[flow.pk]): "Start a run of orders",
        reverse("admin:own_tokens"): "Make a token",
        "/admin/there/is/none/": "Page not found",
    }
    for address, text in words.items():
        plain.goto(address)
        shown = plain.locator("#content, #main").get_by_text(text).filter(visible=True)
        assert shown.count() > 0, address
    plain.context.clear_cookies()
    plain.goto(reverse("admin:index"))
    assert plain.get_by_role("button", name="Log in").is_visible()
    assert plain.get_by_role("dialog").count() == 0
    plain.context.close()


def test_without_javascript_a_dialog_is_a_page_and_its_double_click_acts_once(
    page: Any, browser: Any, live: str, flow: Flow
) -> None:
    plain = without_scripts(page, browser, live)
    queue = Queue.objects.get()
    plain.goto(reverse("admin:flows_queue_let_one_through", args=[queue.pk]))

    assert plain.get_by_text("Leave it as it is").is_visible()
    plain.get_by_role("button", name="Let one through").dblclick()

    wait_for(lambda: bypassing() >= 1)
    plain.wait_for_url(f"**{reverse('admin:flows_queue_change', args=[queue.pk])}")
    assert bypassing() == 1
    plain.context.close()
