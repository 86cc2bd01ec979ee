"""What a button copies, also where the browser has no clipboard of its own or refuses."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from flows import engine
from flows.models import Flow
from tests.builders import ECHO, make_flow, work_until_idle

pytestmark = pytest.mark.long

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

# As on a page without TLS. The text is that of the field that the browser copies.
WITHOUT_CLIPBOARD = """
    Object.defineProperty(navigator, "clipboard", { get: () => undefined });
    addEventListener("copy", () => { window.copied = document.activeElement.value; });
"""
REFUSING = """
    Object.defineProperty(navigator, "clipboard", {
        get: () => ({ writeText: () => Promise.reject(new Error("refused")) }),
    });
"""


@pytest.fixture
def flow(live: str) -> Flow:
    return make_flow("orders", [ECHO])


def test_ids_payloads_and_calls_are_copied_without_tls(page: Any, flow: Flow) -> None:
    run = engine.start("orders", {"order": 4711}).correlation_id
    work_until_idle(flow)
    page.add_init_script(WITHOUT_CLIPBOARD)

    page.goto(reverse("admin:flows_run_change", args=[run]))
    assert str(run) in copied(page, page.locator(".run-copy"))
    assert "4711" in copied(page, page.locator("#body-start .json-bar button", has_text="Copy"))
    page.goto(reverse("admin:flows_flow_change", args=[flow.pk]))
    assert "curl " in copied(page, page.locator(".flow-copy").first)


def copied(page: Any, button: Any) -> str:
    """Press the button, which keeps the focus, and return what it has copied."""
    handle = button.element_handle()
    handle.click()
    page.wait_for_function("button => button.textContent.includes('Copied')", arg=handle)
    assert handle.evaluate("button => button === document.activeElement")
    return str(page.evaluate("window.copied"))


@pytest.mark.parametrize("place", ["run", "flow"])
def test_a_browser_that_refuses_has_not_copied(page: Any, flow: Flow, place: str) -> None:
    run = engine.start("orders", {}).correlation_id
    work_until_idle(flow)
    page.add_init_script(REFUSING)
    of = {"run": (run, ".run-copy"), "flow": (flow.pk, ".flow-copy")}[place]

    page.goto(reverse(f"admin:flows_{place}_change", args=[of[0]]))
    button = page.locator(of[1]).first
    button.click()

    expect(button).to_contain_text("Not copied")
