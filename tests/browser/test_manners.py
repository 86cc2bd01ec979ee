"""Ctrl+K finds and opens pages by keyboard alone; times are those of the browser's zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse

from flows import engine
from flows.models import Run
from scripts.templatetags.times import moment
from tests.builders import ECHO, make_flow

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]


def test_ctrl_k_opens_a_flow_by_keyboard_alone(page: Any) -> None:
    flow = make_flow("orders", [ECHO])
    page.goto(reverse("admin:index"))

    page.keyboard.press("Control+k")
    page.get_by_role("dialog", name="Find").get_by_role("searchbox").wait_for()
    page.wait_for_function("document.activeElement.id === 'search-input-command'")
    page.keyboard.type("orders")
    page.locator("#command-results-list li.active").wait_for()
    page.keyboard.press("Enter")

    page.wait_for_url(f"**{reverse('admin:flows_flow_change', args=[flow.pk])}")
    assert page.get_by_role("heading", level=1).inner_text().endswith("orders")


def test_the_button_of_the_header_opens_the_search_and_escape_leaves_it(page: Any) -> None:
    page.goto(reverse("admin:index"))

    page.get_by_role("button", name="Find").click()
    dialog = page.get_by_role("dialog", name="Find")
    dialog.wait_for()
    page.wait_for_function("document.activeElement.id === 'search-input-command'")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")

    dialog.wait_for(state="hidden")
    assert not dialog.is_visible()
    assert urlsplit(page.url).path == reverse("admin:index")


def test_times_are_in_the_zone_of_the_browser_with_utc_in_the_title(page: Any) -> None:
    make_flow("orders", [ECHO])
    run = engine.start("orders", {}).correlation_id
    Run.objects.filter(pk=run).update(created_at="2026-01-05T23:30:00Z")
    context = page.context.browser.new_context(
        storage_state=page.context.storage_state(),
        timezone_id="Asia/Tokyo",
    )

    page.goto(reverse("admin:flows_run_changelist"))
    other = context.new_page()
    other.goto(page.url)

    shown = other.locator("#result_list time").first
    assert shown.inner_text() == "2026-01-06 08:30:00"
    assert shown.get_attribute("title") == "2026-01-05 23:30:00 UTC"

    other.get_by_role("button", name="Filters").or_(other.get_by_text("Filters")).first.click()
    assert "Times are in Asia/Tokyo." in other.locator("#filter-form").inner_text()
    other.locator("[name=created_at_to_0]").fill("2026-01-06")
    with other.expect_navigation():
        other.get_by_role("button", name="Apply Filters").click()
    assert parse_qs(urlsplit(other.url).query) == {
        "created_at_to_0": ["2026-01-06"],
        "created_at_zone": ["Asia/Tokyo"],
    }
    other.goto(f"{page.url}?created_at_from_0=2026-01-05&created_at_from_1=21:49")
    assert other.locator("#id_created_at_from_0").input_value() == "2026-01-06"
    assert other.locator("#id_created_at_from_1").input_value() == "06:49:00"
    context.close()


def test_a_recent_time_says_how_long_ago_it_was(page: Any) -> None:
    make_flow("orders", [ECHO])
    engine.start("orders", {})

    page.goto(reverse("admin:flows_run_changelist"))

    text = page.locator("#result_list time").first.inner_text()
    assert re.fullmatch(r"just now|\d+ s ago|\d+ min ago", text)


def test_a_time_to_come_says_in_how_long_and_when_it_is_due(page: Any) -> None:
    page.goto(reverse("admin:index"))
    now = page.evaluate("Date.now()") / 1000
    for name, seconds in {"soon": 900, "late": -900, "far": 90_000}.items():
        at = datetime.fromtimestamp(now + seconds, UTC)
        written = moment(at, "next").replace("<time", f'<time id="{name}"')
        page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", written)

    detail = "{detail: {elt: document.body, target: document.body}}"
    page.evaluate(f"document.dispatchEvent(new CustomEvent('htmx:afterSwap', {detail}))")

    assert re.fullmatch(r"in 1[45] min", page.locator("#soon").inner_text())
    assert page.locator("#late").inner_text() == "due"
    assert re.fullmatch(r"[\d-]{10} [\d:]{8}", page.locator("#far").inner_text())


def test_a_bulk_action_is_confirmed_with_the_number_of_rows(page: Any) -> None:
    make_flow("orders", [ECHO])
    runs = [engine.start("orders", {}).correlation_id for _ in range(2)]
    page.goto(reverse("admin:flows_run_changelist"))

    for box in page.locator("input.action-select").all():
        box.check()
    page.locator("select[name=action]").select_option("cancel_selected")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("Cancel 2 runs?").first.wait_for()
    assert Run.objects.filter(pk__in=runs, status="CANCELLED").count() == 0
    button = page.get_by_role("button", name="Cancel 2 runs")
    # Nothing takes it back, so it is as red as the button of a single run.
    assert "bg-red-600" in button.get_attribute("class")
    with page.expect_navigation():
        button.click()

    assert Run.objects.filter(pk__in=runs, status="CANCELLED").count() == 2
