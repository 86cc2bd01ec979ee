"""Long names break at the edge of their box, and text stands out from its ground."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils import timezone

from flows.access import audit
from flows.models import (
    AlertTarget,
    Flow,
    FlowVersion,
    Queue,
    QueueState,
    Reprocessing,
    WebhookDelivery,
)
from scripts.models import Library, ReferenceTable, Script, ScriptVersion, Secret
from tests.admin_pages import PAGES
from tests.browser.contrast import contrast
from tests.builders import ECHO, make_flow
from tests.furnished import furnish_more

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]

# The tables that are scrolled sideways, with their width and that of their frame.
WIDE = """() => [...document.querySelectorAll("table")].filter((table) => table.offsetParent)
    .map((table) => [table.id, table.offsetWidth,
        table.closest(".simplebar-content-wrapper")?.clientWidth ?? innerWidth])
    .filter(([, width, room]) => width > room + 1)"""
LONG = "Überweisungs-Vorprüfung " + 76 * "ß"


def right_edge(page: Any, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    return float(box["x"] + box["width"])


def test_the_warning_about_a_name_stays_in_its_box(page: Any) -> None:
    page.goto(reverse("admin:flows_flow_add"))
    page.fill("#id_name", LONG)
    page.get_by_role("button", name="Make the flow").click()
    warning = page.locator(".bg-orange-100", has_text="has to be written")
    warning.wait_for()

    assert warning.evaluate("(box) => box.scrollWidth <= box.clientWidth")


@pytest.mark.parametrize(
    ("name", "last"),
    [("flows_auditentry", "column-short_reason"), ("flows_flow", "column-open_dead_letters")],
)
def test_a_long_name_leaves_the_other_columns_in_their_place(
    page: Any, name: str, last: str
) -> None:
    flow = Flow.objects.create(name=100 * "a")
    audit.record("pause", flow, reason="the bank is closed")
    page.set_viewport_size({"width": 1440, "height": 900})

    page.goto(reverse(f"admin:{name}_changelist"))

    page.locator("#result_list").wait_for()
    assert right_edge(page, f"#result_list thead .{last}") <= 1440


def test_every_list_of_long_names_fits_a_small_desktop(page: Any) -> None:
    furnish_more(0, 2)
    for model in (Flow, Queue, Script, Library, Secret, AlertTarget, ReferenceTable, Group):
        model._default_manager.update(name=Concat("name", Value("-" + 80 * "w")))
    for version, name in ((FlowVersion, "flow_name"), (ScriptVersion, "script_name")):
        version._default_manager.update(**{name: Concat(name, Value("-" + 80 * "w"))})
    # The times of yesterday are longer than "3 min ago".
    page.clock.set_fixed_time(timezone.now() + timedelta(days=1))
    WebhookDelivery.objects.update(url="https://" + 200 * "w", error=200 * "w")
    Reprocessing.objects.update(note=200 * "w", matched=123_456_789, reprocessed=23_456_789)
    QueueState.objects.update(depth=9_876_543)
    Queue.objects.update(size=10_000_000)
    wide = {}

    for each in PAGES:
        if each.name.endswith("_changelist") or each.name == "flows_flowversion_change":
            page.goto(each.url())
            page.locator(".simplebar-content").first.wait_for(state="attached")
            wide[each.label] = page.evaluate(WIDE)

    assert len(wide) > 25
    assert {name: tables for name, tables in wide.items() if tables} == {}


def test_code_and_its_line_numbers_stand_out_in_light(page: Any) -> None:
    flow = make_flow("orders", [ECHO])
    page.emulate_media(color_scheme="light")
    page.goto(reverse("admin:scripts_script_change", args=[flow.steps.get().script.pk]))

    assert contrast(page, ".editor .ace_gutter-cell") >= 4.5
    assert contrast(page, ".editor .ace_keyword") >= 4.5
    page.goto(reverse("admin:flows_flow_start", args=[flow.pk]))
    page.locator(".editor").first.wait_for()
    page.evaluate("document.querySelector('.editor').env.editor.setValue('{\"key\": 1}', -1)")
    assert contrast(page, ".editor .ace_variable") >= 4.5


def test_the_number_of_the_page_stands_out_in_the_dark(page: Any) -> None:
    Flow.objects.bulk_create(Flow(name=f"flow-{number}") for number in range(150))
    page.emulate_media(color_scheme="dark")
    page.goto(reverse("admin:flows_flow_changelist"))
    page.evaluate("document.documentElement.classList.add('dark')")

    assert contrast(page, "span.font-medium.text-primary-600") >= 4.5
