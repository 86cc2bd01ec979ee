"""What administrators do in a browser: give a role, meet another's change, restore, import."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from flows import engine
from flows.models import Flow, Queue
from scripts.models import Script
from tests.browser.conftest import page_of as page_of_user
from tests.builders import ECHO, make_flow


def page_of(name: str, *arguments: Any) -> str:
    return reverse(f"admin:{name}", args=arguments)


@pytest.fixture
def page_for(live: str, browser: Any) -> Any:
    """Return a function that gives a page of another user, which is watched until the test ends."""
    pages = []

    def open_for(user: User) -> Any:
        pages.append(page_of_user(user, browser, live))
        return pages[-1]

    yield open_for
    for each in pages:
        each.context.close()
        each.watched.check()


@pytest.mark.long
def test_a_profile_is_given_and_the_user_sees_and_does_what_it_allows_and_no_more(
    page: Any, page_for: Any
) -> None:
    orders, other = make_flow("orders", [ECHO]), make_flow("secret-flow", [ECHO])
    clerk = User.objects.create_user("clerk", password="secret")
    engine.start("orders", {})

    page.goto(page_of("auth_user_change", clerk.pk))
    page.get_by_role("link", name="Give a profile").click()
    page.get_by_role("radio", name="operator").check()
    page.locator(".select2-selection").click()
    page.locator(".select2-results__option", has_text="orders").click()
    page.locator("#content button[type=submit]", has_text="Give").click()
    page.get_by_text("clerk is operator of orders.").wait_for()

    clerks = page_for(User.objects.get(username="clerk"))
    clerks.goto(page_of("index"))
    menu = clerks.locator("#nav-sidebar-apps")
    menu.get_by_role("link", name="Runs").wait_for()
    assert menu.get_by_role("link", name="Users").count() == 0
    clerks.goto(page_of("flows_flow_changelist"))
    assert clerks.locator("#result_list").get_by_text("orders", exact=True).count() == 1
    assert clerks.get_by_text("secret-flow").count() == 0

    clerks.goto(page_of("flows_flow_change", orders.pk))
    assert clerks.locator("#flow-add").count() == 0
    assert clerks.get_by_role("button", name="Save settings").count() == 0
    clerks.get_by_role("link", name="Pause", exact=True).click()
    with clerks.expect_navigation():
        clerks.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
    assert Flow.objects.get(name="orders").paused

    # As if there were none: the page leads home.
    clerks.goto(page_of("flows_flow_change", other.pk))
    clerks.wait_for_url(f"**{page_of('index')}")
    assert clerks.get_by_text("secret-flow").count() == 0


def test_the_second_to_save_sees_both_changes_and_overwrites_nothing(
    page: Any, page_for: Any
) -> None:
    queue = Queue.objects.create(name="orders")
    second = page_for(User.objects.create_superuser("second", password="secret"))
    address = page_of("flows_queue_change", queue.pk)
    page.goto(address)
    second.goto(address)

    page.fill("#id_size", "600")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/flows/queue/")
    second.fill("#id_max_deliveries", "4")
    second.get_by_role("button", name="Save", exact=True).click()

    second.get_by_text("Saved by another user meanwhile").wait_for()
    assert second.locator("section.diff").count() == 2
    queue.refresh_from_db()
    assert (queue.size, queue.max_deliveries == 4) == (600, False)
    second.get_by_role("link", name="Open it as it is now").click()
    assert second.input_value("#id_size") == "600"
    second.fill("#id_max_deliveries", "4")
    second.get_by_role("button", name="Save", exact=True).click()
    second.wait_for_url("**/flows/queue/")

    queue.refresh_from_db()
    assert (queue.size, queue.max_deliveries) == (600, 4)


@pytest.mark.long
def test_an_old_version_of_a_flow_is_restored(page: Any, live: str) -> None:
    flow = make_flow("orders", [ECHO, ECHO], threads=3)
    old = flow.make_version()
    flow.steps.get(position=1).delete()
    flow.steps.update(threads=9)
    flow.make_version()

    page.goto(page_of("flows_flowversion_change", old.pk))
    page.get_by_role("link", name="Restore").click()
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button", name="Restore", exact=True).click()

    page.get_by_text("Restored: version 3 has the steps of version 1.").wait_for()
    page.locator(".flow-card", has_text="orders-1").wait_for()
    assert set(flow.steps.values_list("name", "threads")) == {("orders-0", 3), ("orders-1", 3)}


@pytest.mark.long
def test_a_flow_is_deleted_and_restored_with_its_steps(page: Any, live: str) -> None:
    flow = make_flow("orders", [ECHO, ECHO])
    page.goto(page_of("flows_flow_change", flow.pk))

    page.get_by_role("link", name="Delete flow").click()
    page.locator("#content").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/flows/flow/")
    assert not Flow.objects.exists()
    page.get_by_role("link", name="Deleted flows").click()
    page.get_by_role("row", name="orders").get_by_role("link", name="Restore").click()
    page.get_by_role("button", name="Restore", exact=True).click()

    page.get_by_text("The flow orders is restored.").wait_for()
    page.locator(".flow-card").nth(1).wait_for()
    assert Flow.objects.get(name="orders").steps.count() == 2


@pytest.mark.long
def test_an_import_shows_the_difference_and_changes_nothing_before_it_is_confirmed(
    page: Any, live: str
) -> None:
    make_flow("orders", [ECHO])
    changed = ECHO.replace("message\n", "{**message}\n")
    document = {"scripts": [{"name": "orders-0", "code": changed}]}

    page.goto(page_of("flows_configuration_import"))
    chosen = json.dumps(document).encode()
    page.locator("input[type=file]").set_input_files(
        {"name": "orders.json", "mimeType": "application/json", "buffer": chosen}
    )
    page.get_by_role("button", name="Show what would change").click()
    change = page.locator(".transfer-change", has_text="orders-0")
    change.get_by_text("return {**message}").first.wait_for()
    assert change.get_by_text("return message").first.is_visible()
    assert Script.objects.get().code == ECHO

    page.get_by_role("button", name="Import these changes").click()
    page.wait_for_url(f"**{page_of('flows_flow_changelist')}")
    assert Script.objects.get().code == changed
