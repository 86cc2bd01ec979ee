"""A page with changes that are not saved asks before it is left, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse

from flows.models import Flow, Queue
from scripts.models import Script

pytestmark = pytest.mark.long

CODE = "def run(message, context):\n    return message\n"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def pages() -> dict[str, str]:
    script = Script.objects.create(name="score", code=CODE, input_schema=SCHEMA)
    rows = {
        "flow": Flow.objects.create(name="orders"),
        "queue": Queue.objects.create(name="orders"),
        "script": script,
        "group": Group.objects.create(name="shop"),
        "user": User.objects.create_user("clerk", password="secret"),
    }
    found = {}
    for kind, row in rows.items():
        meta = row._meta
        name = f"admin:{meta.app_label}_{meta.model_name}_change"
        found[kind] = reverse(name, args=[row.pk])
    found["start"] = reverse("admin:flows_flow_start", args=[rows["flow"].pk])
    found["new script"] = reverse("admin:scripts_script_add")
    found["import"] = reverse("admin:flows_configuration_import")
    return found


def questions(page: Any) -> list[str]:
    asked: list[str] = []

    def note(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", note)
    return asked


def leave(page: Any) -> None:
    page.goto(reverse("admin:index"))


def test_page_that_was_only_looked_at_is_left_without_a_question(page: Any) -> None:
    asked = questions(page)

    for address in pages().values():
        page.goto(address)
        page.wait_for_load_state("networkidle")
        page.mouse.click(640, 10)
        page.keyboard.press("Tab")
        leave(page)

        assert asked == [], address


@pytest.mark.parametrize("kind", ["flow", "queue", "group", "user"])
def test_page_with_a_change_asks_and_does_not_once_it_is_undone(page: Any, kind: str) -> None:
    asked = questions(page)
    address = pages()[kind]
    field = "#id_username" if kind == "user" else "#id_name"

    page.goto(address)
    before = page.input_value(field)
    page.locator(field).click()
    page.keyboard.type("x")
    leave(page)
    assert asked == ["beforeunload"]

    page.goto(address)
    page.locator(field).click()
    page.keyboard.type("x")
    page.fill(field, before)
    leave(page)
    assert asked == ["beforeunload"]


def test_a_document_that_was_pasted_counts(page: Any) -> None:
    asked = questions(page)
    page.goto(pages()["import"])

    page.fill("#id_document", '{"flows": []}')
    leave(page)

    assert asked == ["beforeunload"]


def test_a_form_that_its_page_does_not_send_still_asks(page: Any) -> None:
    asked = questions(page)
    page.goto(pages()["import"])
    page.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")

    page.fill("#id_document", '{"flows": []}')
    page.get_by_role("button", name="Show what would change").click()
    leave(page)

    assert asked == ["beforeunload"]


def test_code_in_the_editor_counts(page: Any) -> None:
    asked = questions(page)
    page.goto(pages()["script"])
    page.wait_for_load_state("networkidle")

    page.locator(".ace_content").first.click()
    page.keyboard.type("# a comment")
    leave(page)

    assert asked == ["beforeunload"]


def test_saving_asks_nothing_and_a_refused_form_still_does(page: Any) -> None:
    asked = questions(page)
    page.goto(pages()["queue"])

    page.fill("#id_size", "0")
    page.locator("[name=_continue]").first.click()
    page.get_by_text("Must be a whole number of at least 1").wait_for()
    assert asked == []

    leave(page)
    assert asked == ["beforeunload"]
