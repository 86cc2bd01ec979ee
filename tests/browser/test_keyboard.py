"""Every part of a page is reached and operated by keyboard alone, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from flows.models import Flow, Queue
from tests.browser.conftest import DESKTOP, PHONE, page_of
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

# In the dialog that is open, or on no element of the page behind it.
IS_WITHIN = """() => {
    const dialog = [...document.querySelectorAll("[role=dialog], dialog[open]")]
        .findLast((each) => each.getClientRects().length > 0);
    const focused = document.activeElement;
    return dialog !== undefined && (focused === document.body || dialog.contains(focused));
}"""
PRESS_PAUSE = "document.querySelector('[hx-get$=\"/pause/\"]').click()"
FOCUSED = "() => document.activeElement.textContent.replaceAll(/\\s+/g, ' ').trim()"


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, live: str, browser: Any) -> Iterator[Any]:
    """Return a page of a superuser on a desktop, and on a phone."""
    root = User.objects.create_superuser("root", password="secret")
    opened = page_of(root, browser, live, "light", request.param)
    yield opened
    opened.context.close()
    opened.watched.check()


def assert_focus_stays(page: Any) -> None:
    for key in ["Tab"] * 8 + ["Shift+Tab"] * 8:
        page.keyboard.press(key)
        assert page.evaluate(IS_WITHIN), key


def test_first_tab_reaches_a_link_that_skips_the_menu(page: Any) -> None:
    page.goto(reverse("admin:index"))

    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED).startswith("Skip")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('#content') !== null")


def test_dialog_is_named_keeps_the_focus_and_gives_it_back(page: Any) -> None:
    make_flow("orders", [ECHO])
    page.goto(reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]))
    page.wait_for_load_state("networkidle")
    button = page.get_by_role("link", name="Pause", exact=True)
    is_in_menu = not button.is_visible()
    if is_in_menu:
        # As if the menu was open: htmx answers in the same way.
        page.evaluate(PRESS_PAUSE)
    else:
        button.focus()
        page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog", name="Pause")
    dialog.wait_for()
    page.wait_for_function("document.activeElement.name === 'reason'")
    assert_focus_stays(page)
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")

    assert not Queue.objects.get().paused
    if not is_in_menu:
        page.wait_for_function("document.activeElement.textContent.includes('Pause')")


def test_filters_of_a_list_get_the_focus_keep_it_and_give_it_back(page: Any) -> None:
    make_flow("orders", [ECHO])
    page.goto(reverse("admin:flows_run_changelist"))
    page.wait_for_function("window.Alpine !== undefined")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")

    page.get_by_role("dialog", name="Filters").wait_for()
    page.wait_for_function("document.activeElement.closest('#filter-form') !== null")
    assert_focus_stays(page)
    page.keyboard.press("Escape")

    page.wait_for_function("document.activeElement.textContent.includes('Filters')")


def test_dialog_is_answered_by_keyboard(page: Any) -> None:
    make_flow("orders", [ECHO])
    page.goto(reverse("admin:flows_flow_change", args=[Flow.objects.get().pk]))
    page.wait_for_load_state("networkidle")
    page.evaluate(PRESS_PAUSE)
    page.get_by_role("dialog", name="Pause").wait_for()
    page.wait_for_function("document.activeElement.name === 'reason'")

    page.keyboard.type("audit")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    flow = Flow.objects.get()
    assert (flow.paused, flow.pause_reason) == (True, "audit")


def test_menu_of_the_header_opens_walks_and_closes_on_a_phone(page: Any) -> None:
    page.set_viewport_size(PHONE)
    make_flow("orders", [ECHO])
    page.goto(reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]))
    page.wait_for_function("window.Alpine !== undefined")
    menu = page.get_by_role("button", name="Actions", exact=True)
    pause = page.get_by_role("link", name="Pause", exact=True)

    menu.focus()
    page.keyboard.press("Enter")
    pause.wait_for()
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    pause.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.ariaLabel") == "Actions"
    page.keyboard.press("Space")
    pause.wait_for()
    while "Pause" not in page.evaluate(FOCUSED):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('header, nav, ul') !== null")
    page.keyboard.press("Enter")

    page.get_by_role("dialog", name="Pause").wait_for()


def test_menu_of_a_step_opens_walks_and_closes(page: Any) -> None:
    flow = make_flow("orders", [ECHO, ECHO])
    first = flow.steps.order_by("position")[0]
    page.goto(reverse("admin:flows_flow_change", args=[flow.pk]))
    page.wait_for_function("window.Alpine !== undefined")

    button = page.locator(f"#step-{first.pk}-menu")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent.includes('Move right')")
    page.keyboard.press("ArrowDown")
    assert "Remove" in page.evaluate(FOCUSED)
    page.keyboard.press("Escape")

    page.wait_for_function(f"document.activeElement.id === 'step-{first.pk}-menu'")
    assert button.get_attribute("aria-expanded") == "false"


def test_side_panel_opens_keeps_the_focus_and_gives_it_back(page: Any) -> None:
    flow = make_flow("orders", [ECHO])
    step = flow.steps.get()
    page.goto(reverse("admin:flows_flow_change", args=[flow.pk]))
    page.wait_for_function("window.Alpine !== undefined")

    page.locator(f"#step-{step.pk}").focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open] [role=tab]").first.wait_for()
    page.wait_for_function(IS_WITHIN)
    page.get_by_role("tab", name="Queue").focus()
    page.keyboard.press("Enter")
    assert_focus_stays(page)
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")

    page.wait_for_function(f"document.activeElement.id === 'step-{step.pk}'")


def test_a_version_to_compare_with_is_chosen_before_it_is_loaded(page: Any) -> None:
    script = make_flow("orders", [ECHO]).steps.get().script
    for number in range(3):
        script.code = f"{ECHO}# {number}\n"
        script.save()
    newest = script.versions.order_by("number").last()
    page.goto(reverse("admin:scripts_scriptversion_change", args=[newest.pk]))

    page.get_by_label("compared with").focus()
    page.keyboard.press("ArrowDown")
    assert "against" not in page.url
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.wait_for_url("**against=*")


def test_buttons_are_named_without_the_names_of_their_icons(page: Any) -> None:
    make_flow("orders", [ECHO])
    page.goto(reverse("admin:flows_flow_change", args=[Flow.objects.get().pk]))
    page.wait_for_function("window.Alpine !== undefined")

    icons = page.locator("a .material-symbols-outlined:not([aria-hidden])")
    named = "icons => icons.map(each => each.closest('a').textContent.trim().split(/\\s+/).length)"
    assert set(icons.evaluate_all(named)) <= {1}
