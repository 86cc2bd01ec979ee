"""The live part of home in a browser: it refreshes itself, and says so when it cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse

from flows import engine
from tests.browser.conftest import PATIENCE_MS
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

# Lets a test hide the page, as another tab in front of it does.
HIDING = """
    Object.defineProperty(document, "hidden", { get: () => window.isHidden === true });
    window.hide = (hides) => {
        window.isHidden = hides;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""
STALE = re.compile(r"Not up to date since \d\d:\d\d:\d\d")


@pytest.fixture
def home(page: Any) -> Any:
    """Return home with a flow that has no runs yet."""
    make_flow("orders", codes=[ECHO])
    page.add_init_script(HIDING)
    page.goto(reverse("admin:index"))
    expect(waiting(page)).to_have_text("0")
    return page


def waiting(page: Any) -> Any:
    return page.locator("td[data-label=Waiting]")


def stale(page: Any) -> Any:
    return page.locator(".live-stale")


def test_a_figure_changes_without_a_new_page(home: Any) -> None:
    home.evaluate("window.isTheSamePage = true")

    engine.start("orders", {})

    expect(waiting(home)).to_have_text("1", timeout=PATIENCE_MS)
    assert home.evaluate("window.isTheSamePage")
    expect(stale(home)).to_have_count(0)


def test_the_focus_stays_where_it_is(home: Any) -> None:
    link = home.locator(".home-flows").get_by_role("link", name="orders", exact=True)
    link.focus()

    engine.start("orders", {})
    expect(waiting(home)).to_have_text("1", timeout=PATIENCE_MS)

    expect(link).to_be_focused()
    home.keyboard.press("Enter")
    home.wait_for_url("**/flow/*/change/")


def test_the_focus_stays_in_a_cell_of_the_list_of_queues(home: Any) -> None:
    home.goto(reverse("admin:flows_queue_changelist"))
    link = home.locator("#result_list").get_by_role("link", name="orders", exact=True)
    link.focus()

    engine.start("orders", {})
    filled = home.locator("[id$=-filled]")
    expect(filled).to_contain_text("1 / 10,000", timeout=PATIENCE_MS)

    expect(link).to_be_focused()


def test_a_table_stays_as_far_to_the_side_as_it_was(home: Any) -> None:
    home.set_viewport_size({"width": 800, "height": 900})
    table = home.locator(".home-scroll")
    far = "table => { table.scrollLeft = 60; return table.scrollLeft; }"
    assert table.evaluate(far) == 60

    engine.start("orders", {})
    expect(waiting(home)).to_have_text("1", timeout=PATIENCE_MS)

    assert table.evaluate("table => table.scrollLeft") == 60


@pytest.mark.parametrize("failure", ["no server", "an error"])
def test_a_part_that_cannot_be_refreshed_says_since_when(home: Any, failure: str) -> None:
    def fail(route: Any) -> None:
        if failure == "no server":
            route.abort()
        else:
            route.fulfill(status=500, body="Sorry")

    home.watched.expected += ["net::ERR_FAILED", "status of 500", "htmx"]
    home.route("**/flow/home/**", fail)
    expect(stale(home)).to_have_text(STALE, timeout=PATIENCE_MS)
    expect(waiting(home)).to_have_text("0")

    home.unroute("**/flow/home/**")
    expect(stale(home)).to_have_count(0, timeout=PATIENCE_MS)


def test_a_session_that_has_ended_puts_no_login_page_into_the_part(home: Any) -> None:
    Session.objects.all().delete()

    expect(stale(home)).to_have_text(STALE, timeout=PATIENCE_MS)
    expect(home.locator("#id_username")).to_have_count(0)


def test_a_hidden_page_asks_for_nothing_and_at_once_when_it_is_shown(home: Any) -> None:
    asked: list[str] = []
    home.evaluate("window.hide(true)")
    home.on("request", lambda request: asked.append(request.url))
    # Longer than a part waits; a request that comes late fails no test that should pass.
    home.wait_for_timeout(7_000)
    assert asked == []

    with home.expect_request("**/flow/home/**"):
        home.evaluate("window.hide(false)")
