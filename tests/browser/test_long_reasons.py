"""A long reason without a blank stays in its box, on a desktop and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from flows import engine
from flows.models import Queue, Run
from tests.browser.conftest import DESKTOP, PHONE
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long

REASON = "https://tickets.example.org/browse/" + "OPERATIONS-" * 10 + "4711"
OVERFLOWING = """() => [...document.querySelectorAll(".queue-head *, .run-head *, .pause-told")]
    .filter((each) => each.getClientRects().length && each.scrollWidth > each.clientWidth + 1
        && getComputedStyle(each).display !== "inline")
    .map((each) => each.outerHTML.slice(0, 100))"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_long_reason_stays_in_its_box(page: Any, live: str, size: dict[str, int]) -> None:
    flow = make_flow("orders", [ECHO])
    queue = Queue.objects.get()
    engine.pause(queue, user=User.objects.get(), reason=REASON)
    engine.start(flow.name, {})
    page.set_viewport_size(size)
    pages = {
        reverse("admin:flows_queue_changelist"): ".pause-told",
        reverse("admin:flows_queue_change", args=[queue.pk]): ".queue-head",
        reverse("admin:flows_run_change", args=[Run.objects.get().pk]): ".run-why",
    }
    for address, place in pages.items():
        page.goto(address)
        page.locator(place).first.wait_for()
        assert page.evaluate(OVERFLOWING) == [], address
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], address
    page.goto(reverse("admin:flows_queue_changelist"))
    assert page.locator(".pause-told").first.bounding_box()["height"] < 100
