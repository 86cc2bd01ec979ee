"""What a button asked for and did not get is said, and what was written stays."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from flows.models import Queue, RoleMapping
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

# Both are written to the console, by the browser and by htmx.
REFUSED = ["status of 404", "Response Status Error Code"]
UNREACHED = ["net::ERR_FAILED", "console: htmx:"]


def test_a_right_of_a_role_that_is_gone_says_so(page: Any) -> None:
    make_flow("orders", [ECHO])
    role = Group.objects.create(name="shop")
    page.watched.expected += REFUSED
    page.goto(reverse("admin:flows_rolemapping_matrix"))
    role.delete()

    page.get_by_role("switch", name="shop: watch orders").click()

    note = page.get_by_role("alert")
    expect(note).to_contain_text("may have been deleted")
    assert not RoleMapping.objects.exists()
    note.get_by_role("button", name="Close").click()
    expect(note).to_have_count(0)


def test_a_panel_that_reaches_no_server_says_so_and_saves_afterwards(page: Any) -> None:
    flow = make_flow("orders", [ECHO])
    page.watched.expected += UNREACHED
    page.goto(reverse("admin:flows_flow_change", args=[flow.pk]))
    page.wait_for_function("window.Alpine !== undefined")
    page.locator(f"#step-{flow.steps.get().pk}").click()
    page.get_by_role("tab", name="Queue").click()
    page.fill("#panel-queue-size", "77")
    page.route("**/steps/**", lambda route: route.abort())

    page.get_by_role("button", name="Save queue").click()
    note = page.locator("dialog[open]").get_by_role("alert").filter(has_text="does not answer")
    expect(note).to_be_visible()
    page.unroute("**/steps/**")
    page.get_by_role("button", name="Save queue").click()
    page.get_by_text("Saved.", exact=True).wait_for()

    expect(note).to_have_count(0)
    assert Queue.objects.get().size == 77


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "It is not known whether it was done: the server answered 500."),
        (503, "It was not done: the server answered 503."),
    ],
)
def test_a_dialog_that_was_refused_says_so_within_it(page: Any, status: int, words: str) -> None:
    make_flow("orders", [ECHO])
    queue = Queue.objects.get()
    page.watched.expected += [f"status of {status}", "Response Status Error Code"]
    page.goto(reverse("admin:flows_queue_change", args=[queue.pk]))
    page.wait_for_load_state("networkidle")
    page.get_by_role("link", name="Pause", exact=True).click()
    dialog = page.get_by_role("dialog", name="Pause")
    dialog.wait_for()
    page.route("**/pause/", lambda route: route.fulfill(status=status, body="<p>Sorry</p>"))

    dialog.get_by_role("button", name="Pause", exact=True).click()

    note = dialog.get_by_role("alert")
    expect(note).to_contain_text(words)
    note.get_by_role("button", name="Close").focus()
    page.keyboard.press("Enter")
    expect(note).to_have_count(0)
