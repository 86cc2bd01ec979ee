"""The start form and the JSON beside it follow each other; the whole flow is tried; an import."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from flows.configuration import import_configuration
from flows.models import Flow, Message, Run

pytestmark = pytest.mark.long

LONG = "12345678901234567890.50"
SCHEMA = {
    "type": "object",
    "required": ["id", "customer"],
    "properties": {
        "id": {"type": "string", "title": "Order", "pattern": "^A-"},
        "amount": {"type": "number", "title": "Amount"},
        "colour": {"enum": ["red", "green"], "title": "Colour"},
        "when": {"type": "string", "format": "date-time", "title": "When"},
        "customer": {
            "type": "object",
            "title": "Customer",
            "required": ["name"],
            "properties": {"name": {"type": "string", "title": "Name"}},
        },
        "tags": {"type": "array", "title": "Tags", "items": {"type": "string"}},
        "free": {"title": "Free", "oneOf": [{"type": "string"}, {"type": "object"}]},
    },
}
PASS = "def run(message, context):\n    return message\n"
FAIL = "def run(message, context):\n    raise ValueError(message['payload']['id'])\n"
DOCUMENT: dict[str, Any] = {
    "scripts": [
        {"name": "check", "code": PASS, "inputSchema": SCHEMA},
        {"name": "price", "code": FAIL},
    ],
    "queues": [{"name": "checks"}, {"name": "prices"}],
    "flows": [
        {
            "name": "orders",
            "steps": [
                {"name": "check", "script": "check", "queue": "checks"},
                {"name": "price", "script": "price", "queue": "prices"},
            ],
        }
    ],
}


@pytest.fixture
def start(page: Any) -> Any:
    import_configuration(DOCUMENT)
    page.goto(reverse("admin:flows_flow_start", args=[Flow.objects.get().pk]))
    page.wait_for_selector(".start-field")
    return page


def text_of(page: Any) -> str:
    text: str = page.evaluate("document.getElementById('id_payload').value")
    return text


def set_text(page: Any, text: str) -> None:
    page.evaluate("text => document.getElementById('id_payload').editor.setValue(text)", text)


def test_each_field_writes_the_json_and_no_digit_is_lost(start: Any) -> None:
    start.get_by_label("Order").fill("A-1")
    start.get_by_label("Amount").fill(LONG)
    start.get_by_label("Colour").select_option("green")
    start.get_by_label("When").fill("2026-12-24T18:00:00")
    start.get_by_label("Name").fill("Ada")
    start.get_by_role("button", name="Add an item").click()
    start.get_by_role("textbox", name="Tags 1").fill("new")
    start.get_by_label("Free").fill('{"n": 1.10}')

    text = text_of(start)

    assert LONG in text
    assert "1.10" in text
    value = json.loads(text)
    assert (value["id"], value["colour"], value["tags"]) == ("A-1", "green", ["new"])
    assert value["customer"] == {"name": "Ada"}
    assert value["when"].endswith("Z")

    start.get_by_label("Remove Tags 1").click()
    assert "tags" not in json.loads(text_of(start))


def test_the_json_fills_the_fields_and_what_they_do_not_know_stays(start: Any) -> None:
    set_text(start, '{"2": 1, "__proto__": 2, "id": "A-9", "customer": {"name": "Bo"}, "tags": 5}')

    start.wait_for_function("() => document.querySelector('.start-root input')?.value === 'A-9'")
    start.get_by_label("Amount").fill("7")

    assert list(json.loads(text_of(start))) == [
        "2",
        "__proto__",
        "id",
        "customer",
        "tags",
        "amount",
    ]


def test_a_fault_in_the_json_is_told_and_the_form_waits(start: Any) -> None:
    set_text(start, '{"id": "A-1",')
    state = start.locator("[data-json-state]")

    start.wait_for_function("() => document.querySelector('[data-fields]').inert")
    assert "Line 1" in state.inner_text()

    set_text(start, '{"id": "A-2"}')
    start.wait_for_function("() => !document.querySelector('[data-fields]').inert")
    assert state.inner_text() == "In step with the form"


def test_a_refusal_is_shown_at_its_field_and_a_mended_form_starts_a_run(start: Any) -> None:
    start.get_by_label("Order").fill("B-1")
    start.get_by_label("Name").fill("Ada")
    start.get_by_role("button", name="Start", exact=True).click()

    refused = start.locator(".start-refused")
    refused.wait_for()
    assert "Order" in refused.inner_text()
    assert "does not match" in refused.inner_text()

    start.get_by_label("Order").fill("A-1")
    start.get_by_role("button", name="Start", exact=True).click()
    start.wait_for_url("**/flows/run/**")
    body = Message.objects.get(run=Run.objects.get()).body
    assert json.loads(body)["payload"]["id"] == "A-1"


def test_a_trial_leads_to_the_failed_script_with_that_input(start: Any) -> None:
    start.get_by_label("Order").fill("A-77")
    start.get_by_label("Name").fill("Ada")
    start.get_by_role("button", name="Try without storing").click()

    start.locator("#trying").wait_for()
    assert start.locator(".trying-state").all_inner_texts() == ["passed", "failed"]
    assert "ValueError: A-77" in start.locator(".trying-error").inner_text()
    assert not Run.objects.exists()

    start.get_by_role("link", name="Open the script with this input").click()
    start.wait_for_function(
        "() => document.getElementById('trial-sample')?.editor?.getValue().includes('A-77')"
    )
    assert start.locator("#trial-last").is_checked()


def test_an_import_is_shown_confirmed_and_applied(page: Any) -> None:
    page.goto(reverse("admin:flows_configuration_import"))
    page.get_by_role("textbox", name="Document").fill(json.dumps(DOCUMENT))
    page.get_by_role("button", name="Show what would change").click()

    page.get_by_text("This would change").wait_for()
    assert page.locator(".transfer-change").count() == 5
    assert not Flow.objects.exists()

    page.get_by_role("button", name="Import these changes").click()
    page.wait_for_url(f"**{reverse('admin:flows_flow_changelist')}")
    assert Flow.objects.get().steps.count() == 2
