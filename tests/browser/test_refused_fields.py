"""A page whose form was refused shows the first field that is to be corrected."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from flows.models import Queue
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

IN_VIEW = """field => {
    const { top, bottom } = field.getBoundingClientRect();
    return document.activeElement === field && top >= 0 && bottom <= innerHeight;
}"""


def test_the_refused_field_has_the_focus_and_is_in_view(page: Any, live: str) -> None:
    flow = make_flow("orders", [ECHO])
    pages = {
        reverse("admin:flows_flow_change", args=[flow.pk]): ("webhook_url", "http://127.0.0.1/x"),
        reverse("admin:flows_queue_change", args=[Queue.objects.get().pk]): ("backoff_max", "soon"),
    }
    for address, (name, value) in pages.items():
        page.goto(address)
        field = page.locator(f"#id_{name}")
        field.fill(value)
        button = "Save settings" if "/flow/" in address else "Save and continue editing"
        with page.expect_navigation():
            page.get_by_role("button", name=button).first.click()

        page.wait_for_function(IN_VIEW, arg=field.element_handle())
