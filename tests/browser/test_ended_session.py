"""A session ends while a user works: the login comes as a page, and what was written is kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.urls import reverse

from flows import engine
from flows.models import Flow, Queue
from scripts.models import Script
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

WRITE = "code => document.getElementById('id_code').editor.setValue(code)"
NEW_CODE = 'def run(message, context):\n    return {"written": "for <an> hour & more"}\n'


@pytest.fixture
def flow(live: str) -> Flow:
    return make_flow("orders", [ECHO])


def end_session(page: Any) -> None:
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)


def log_in(page: Any, name: str = "root") -> None:
    page.locator("#login-form [name=username]").fill(name)
    page.locator("#login-form [name=password]").fill("secret")
    page.get_by_role("button", name="Log in").click()
    page.locator("#login-form").wait_for(state="detached")


def test_a_script_that_was_written_is_sent_again_after_the_login(page: Any, flow: Flow) -> None:
    script = Script.objects.get()
    address = reverse("admin:scripts_script_change", args=[script.pk])
    page.goto(address)
    page.wait_for_function("document.getElementById('id_code')?.editor")
    page.evaluate(WRITE, NEW_CODE)
    end_session(page)
    page.get_by_role("button", name="Save and continue editing").click()

    page.get_by_text("It is kept in this tab").wait_for()
    log_in(page)
    assert page.url.endswith(address)
    page.get_by_text("was not saved. It is kept in this tab.").wait_for()
    page.get_by_role("button", name="Send it again").click()
    page.get_by_text("was changed successfully").wait_for()

    script.refresh_from_db()
    assert script.code.strip() == NEW_CODE.strip()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("button", name="Send it again").count() == 0


def test_a_script_whose_save_was_not_answered_is_sent_again_after_back(
    page: Any, flow: Flow
) -> None:
    script = Script.objects.get()
    page.goto(reverse("admin:scripts_script_change", args=[script.pk]))
    page.wait_for_function("document.getElementById('id_code')?.editor")
    page.evaluate(WRITE, NEW_CODE)
    engine.start("orders", {})
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Go on editing").wait_for()

    page.go_back()
    page.get_by_role("button", name="Send it again").click()
    page.get_by_role("button", name="Go on editing").wait_for()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()

    script.refresh_from_db()
    assert script.code.strip() == NEW_CODE.strip()
    assert page.get_by_role("button", name="Send it again").count() == 0


def test_what_a_user_wrote_is_not_shown_to_another(page: Any, flow: Flow) -> None:
    User.objects.create_superuser("other", password="secret")
    page.goto(reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]))
    page.fill("#id_size", "77")
    end_session(page)
    page.locator("[name=_continue]").first.click()
    page.get_by_text("It is kept in this tab").wait_for()
    log_in(page, "other")
    page.locator("#id_size").wait_for()

    assert page.get_by_role("button", name="Send it again").count() == 0
    assert page.evaluate("sessionStorage.length") == 0


def test_a_form_whose_token_is_of_another_login_is_kept_too(page: Any, flow: Flow) -> None:
    page.goto(reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]))
    page.fill("#id_size", "77")
    end_session(page)
    other = page.context.new_page()
    other.goto(reverse("admin:index"))
    log_in(other)
    page.watched.expected.append("status of 403")
    page.locator("[name=_continue]").first.click()
    page.get_by_text("the next page offers to send it again").wait_for()
    page.get_by_role("link", name="Home").last.click()

    page.get_by_role("button", name="Send it again").click()
    page.get_by_text("was changed successfully").wait_for()

    assert Queue.objects.get().size == 77


def test_a_dialog_leads_to_the_login_as_a_page_and_back(page: Any, flow: Flow) -> None:
    address = reverse("admin:flows_queue_change", args=[Queue.objects.get().pk])
    page.goto(address)
    end_session(page)
    page.get_by_role("link", name="Pause", exact=True).click()

    page.get_by_text("Your session has ended").wait_for()
    log_in(page)
    assert page.url.endswith(address)

    page.get_by_role("link", name="Pause", exact=True).click()
    page.get_by_role("dialog").get_by_label("Reason").fill("the bank is closed")
    end_session(page)
    page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("It is kept in this tab").wait_for()
    log_in(page)
    assert page.url.endswith(address)
    page.get_by_role("button", name="Send it again").click()
    page.get_by_text("Paused: orders-0.").wait_for()

    assert Queue.objects.get().pause_reason == "the bank is closed"


def test_the_panel_leads_to_the_login_and_keeps_what_was_written(page: Any, flow: Flow) -> None:
    address = reverse("admin:flows_flow_change", args=[flow.pk])
    page.goto(address)
    end_session(page)
    page.locator("a[data-panel]").first.click()
    page.get_by_text("Your session has ended").wait_for()
    log_in(page)
    assert page.url.endswith(address)

    page.goto(f"{address}?tab=x")
    page.locator(
        f'a[data-panel][href*="{reverse("admin:flows_flow_add_step", args=[flow.pk])}"]'
    ).first.click()
    page.locator("dialog[open] [data-step-name]").fill("check")
    end_session(page)
    page.locator("dialog[open] button[type=submit]").click()
    page.get_by_text("It is kept in this tab").wait_for()
    log_in(page)
    page.get_by_role("button", name="Send it again").click()
    page.get_by_text("The step check was added.").first.wait_for()

    assert flow.steps.filter(name="check").exists()


def test_the_matrix_leads_to_the_login_and_back(page: Any, flow: Flow) -> None:
    Group.objects.create(name="clerks")
    address = reverse("admin:flows_rolemapping_matrix")
    page.goto(address)
    end_session(page)
    page.get_by_role("switch").first.click()

    page.get_by_text("Your session has ended").wait_for()
    log_in(page)
    assert page.url.endswith(address)


def test_a_live_part_says_that_the_session_has_ended(page: Any, flow: Flow) -> None:
    page.goto(reverse("admin:index"))
    end_session(page)

    page.get_by_text("Your session has ended").wait_for()
    page.get_by_role("link", name="log in").click()
    log_in(page)
    assert page.url.endswith(reverse("admin:index"))
