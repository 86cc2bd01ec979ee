from __future__ import annotations

import pytest
from django.urls import reverse

from flows import engine
from flows.models import Run
from flows.monitoring import conservation


@pytest.fixture
def run(world):
    started = engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    return Run.objects.get(pk=started.correlation_id)


@pytest.fixture
def check():
    return reverse("admin:flows_run_conservation")


def dashboard(client):
    return client.get(reverse("admin:index"))


def rows_of(table):
    return {row["name"]: row for row in table["rows"]}


def test_the_dashboard_shows_the_totals_without_counting(client, run, check, monkeypatch):
    monkeypatch.setattr(conservation, "check", lambda: pytest.fail("it counts"))
    engine.cancel(run)
    engine.start("order-processing", {"orderId": "A-2", "amount": 1})

    response = dashboard(client)

    row = rows_of(response.context["totals"])["order-processing"]
    assert row["figures"] == ["2", "1", "0", "0", "1"]
    assert check in response.content.decode()


def test_the_dashboard_names_the_message_that_waits_longest(client, world, run):
    engine.pause(world.flow)
    engine.start("order-processing", {"orderId": "A-2", "amount": 1})

    response = dashboard(client)

    assert response.context["oldest"]["url"].endswith(f"{run.pk}/change/")
    assert "which is paused itself or by its flow" in response.content.decode()


def test_the_check_says_what_agrees_and_what_does_not(client, run, check):
    response = client.get(check)

    # The fixture has runs that were never counted as accepted; a queue that was left alone agrees.
    flow = rows_of(response.context["flow_table"])["order-processing"]
    assert (flow["figures"][:2], flow["agrees"]) == (["1", "1"], False)
    assert "accepted is 1, but there are 6 runs" in response.content.decode()
    queues = rows_of(response.context["queue_table"])
    assert (queues["orders"]["agrees"], queues["billing"]["agrees"]) == (True, False)


def test_a_user_without_a_view_of_runs_sees_no_totals_and_checks_nothing(staff_client, run, check):
    client = staff_client("flows.view_queue")

    assert "totals" not in dashboard(client).context
    assert client.get(check).status_code == 403
