"""Starting runs again says what was done already, and is recorded with the reason."""

from __future__ import annotations

import pytest
from django.urls import reverse

from flows import engine
from flows.models import AuditEntry, Run
from tests.builders import ECHO, make_flow, work_until_idle
from tests.integration.admin.pages import act_on

WARNING = "done a second time"


@pytest.fixture
def runs(db) -> list[Run]:
    """Return two runs that have completed, and one that was cancelled."""
    flow = make_flow("orders", [ECHO])
    engine.start_many(flow.name, [{}] * 3)
    cancelled, *_ = Run.objects.all()
    engine.cancel(cancelled)
    work_until_idle(flow)
    return sorted(Run.objects.all(), key=lambda run: run.status)


def test_the_dialog_warns_of_a_run_that_has_completed_and_keeps_the_reason(client, runs):
    cancelled, completed, _ = runs
    address = reverse("admin:flows_run_start_again", args=[completed.pk])
    asked = client.get(address).content.decode()
    other = reverse("admin:flows_run_start_again", args=[cancelled.pk])

    assert WARNING in asked
    assert 'name="reason"' in asked
    assert WARNING not in client.get(other).content.decode()

    client.post(address, {"_form_submitted": "True", "reason": "the bank lost it"})

    entry = AuditEntry.objects.get(verb="start again")
    started = Run.objects.get(repeats=completed.pk)
    assert (entry.target_id, entry.reason) == (str(completed.pk), "the bank lost it")
    assert entry.after == {"new run": str(started.pk)}


def test_the_question_about_many_counts_them_by_state(client, runs):
    data = {"action": "start_selected_again", "_selected_action": [run.pk for run in runs]}

    asked = client.post(reverse("admin:flows_run_changelist"), data)

    page = asked.content.decode()
    assert "Of these runs: 2 COMPLETED, 1 CANCELLED." in page
    assert WARNING in page
    assert f"{runs[0].pk} of orders, CANCELLED" in page
    assert 'name="reason"' in page


def test_many_are_recorded_with_the_reason(client, runs):
    address = reverse("admin:flows_run_changelist")

    act_on(client, address, "start_selected_again", *runs, reason="the bank lost them")

    assert Run.objects.exclude(repeats=None).count() == 3
    reasons = AuditEntry.objects.filter(verb="start again").values_list("reason", flat=True)
    assert list(reasons) == ["the bank lost them"] * 3


def test_runs_that_did_nothing_are_started_again_without_a_warning(client, runs):
    data = {"action": "start_selected_again", "_selected_action": [runs[0].pk]}

    asked = client.post(reverse("admin:flows_run_changelist"), data)

    assert WARNING not in asked.content.decode()
