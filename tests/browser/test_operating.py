"""What operators do in a browser: find, repair, reprocess, pause, and let one through."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from uuid_utils.compat import uuid7

from flows import engine
from flows.models import DeadLetter, Flow, Queue, Reprocessing, Run
from flows.tasks.reprocessing import advance, wake_overdue
from tests.browser.conftest import PATIENCE_MS
from tests.builders import ECHO, make_flow, work_until_idle

REFUSING = (
    "from asyncengine_script import Reject\n\n\n"
    "def run(message, context):\n"
    "    if message['payload'].get('vat') is None:\n"
    "        raise Reject(f\"no VAT rate for {message['payload']['country']}\")\n"
    "    return message\n"
)
REPAIRED = (
    "def run(message, context):\n    message['payload'].setdefault('vat', 20)\n    return message\n"
)
WRITE = "code => document.getElementById('id_code').editor.setValue(code)"
MANY = 3_000
COUNTRIES = ["Atlantis", "Lilliput", "Utopia"]


def page_of(name: str, *arguments: Any) -> str:
    return reverse(f"admin:{name}", args=arguments)


def make_finished_runs(flow: Flow, number: int) -> None:
    version = flow.make_version()
    now = timezone.now()
    Run.objects.bulk_create(
        Run(
            correlation_id=uuid7(),
            flow_version=version,
            status=Run.Status.COMPLETED,
            created_at=now,
            started_at=now,
            finished_at=now + timedelta(seconds=1),
        )
        for _ in range(number)
    )


def play_the_workers(flow: Flow) -> None:
    """Do what a cluster does until the reprocessing has come to its end."""
    made = Reprocessing.objects.get()
    for _ in range(100):
        for row in OrmQ.objects.order_by("pk"):
            row.delete()
            advance(*SignedPackage.loads(row.payload)["args"])
        work_until_idle(flow)
        made.refresh_from_db()
        if made.finished_at:
            return
        Reprocessing.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        wake_overdue()
    raise AssertionError("the reprocessing never came to its end")


def confirm(page: Any, opens: str, confirms: str, reason: str = "") -> None:
    """Open the dialog of a button of the header, and answer it."""
    page.get_by_role("link", name=opens, exact=True).click()
    dialog = page.get_by_role("dialog")
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    with page.expect_navigation():
        dialog.get_by_role("button", name=confirms, exact=True).click()


@pytest.fixture
def failed(live: str) -> Flow:
    """Return a flow with three failed runs before thousands of others."""
    flow = make_flow("invoices", [REFUSING])
    engine.start_many(flow.name, [{"country": country} for country in COUNTRIES])
    work_until_idle(flow)
    assert DeadLetter.objects.open().count() == len(COUNTRIES)
    make_finished_runs(flow, MANY)
    return flow


def test_a_failed_run_is_found_by_text_repaired_and_all_its_like_reprocessed(
    page: Any, failed: Flow
) -> None:
    page.goto(page_of("flows_run_changelist"))
    search = page.locator("#searchbar")
    search.fill("Lilliput")
    search.press("Enter")
    page.locator("#result_list", has_text="no VAT rate for Lilliput").wait_for()
    assert page.locator("#result_list tbody tr").count() == 1
    page.locator("#result_list tbody th a, #result_list tbody td a").first.click()
    page.locator(".run-error", has_text="no VAT rate for Lilliput").wait_for()

    page.locator("section", has_text="Dead letters").get_by_role("link").first.click()
    page.get_by_role("link", name="Try it in the trial bench").click()
    page.wait_for_function(
        "document.getElementById('trial-sample')?.editor?.getValue().includes('Lilliput')"
    )
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#trial-result", has_text="no VAT rate for Lilliput").wait_for()
    page.evaluate(WRITE, REPAIRED)
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#trial-result", has_text='"vat": 20').wait_for()
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("heading", name="What this change touches").wait_for()
    page.get_by_role("button", name="Save", exact=True).click()

    page.get_by_role("link", name="Reprocess the 3 dead letters that wait").click()
    assert page.locator("[name=script][value=newest]").is_checked()
    page.get_by_role("button", name="Reprocess 3 dead letters").click()
    page.get_by_role("progressbar").wait_for()
    play_the_workers(failed)

    page.get_by_role("heading", name="3 of 3 reprocessed").wait_for()
    page.get_by_role("link", name="Stop").wait_for(state="detached")
    assert not Run.objects.exclude(status=Run.Status.COMPLETED).exists()
    results = [json.loads(run.result) for run in Run.objects.exclude(result=None)]
    assert [result["payload"]["vat"] for result in results] == [20] * len(COUNTRIES)


@pytest.mark.long
def test_a_queue_is_paused_with_a_reason_lets_one_through_and_resumes(page: Any, live: str) -> None:
    flow = make_flow("orders", [ECHO])
    queue = Queue.objects.get()
    page.goto(page_of("flows_queue_change", queue.pk))

    confirm(page, "Pause", "Pause", reason="the bank is closed")
    state = page.locator(".queue-head")
    state.get_by_text("the bank is closed").first.wait_for()
    engine.start_many("orders", [{}, {}])
    work_until_idle(flow)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 0

    confirm(page, "Let one through", "Let one through")
    page.get_by_text("One run goes on.").wait_for()
    work_until_idle(flow)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 1
    page.locator(".queue-figures", has_text="1 /").wait_for(timeout=PATIENCE_MS)

    confirm(page, "Resume", "Resume")
    page.get_by_text("Resumed: orders-0.").wait_for()
    assert page.get_by_text("the bank is closed").count() == 0
    work_until_idle(flow)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 2
