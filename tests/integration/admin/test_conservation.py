from __future__ import annotations

import pytest
from django.urls import reverse
from django_q.models import OrmQ

from flows import engine
from flows.admin import conservation
from flows.models import ConservationCheck, Run
from flows.tasks.allowed_tasks import task_fault
from flows.tasks.conservation import check_and_store


@pytest.fixture
def run(world):
    started = engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    return Run.objects.get(pk=started.correlation_id)


@pytest.fixture
def check():
    return reverse("admin:flows_run_conservation")


def home(client):
    return client.get(reverse("admin:index"))


def rows_of(table):
    return {row["name"]: row for row in table["rows"]}


def test_home_leads_to_the_check_and_shows_what_the_last_one_has_found(client, run, check):
    assert check in home(client).content.decode()
    assert home(client).context["alarms"] == []

    client.get(check)

    [alarm] = home(client).context["alarms"]
    assert "accepted is 1, but there are 6 runs" in alarm["alarm"].sentence
    assert alarm["url"] == check


def test_the_check_says_what_agrees_and_what_does_not(client, run, check):
    response = client.get(check)

    # The fixture has runs that were never counted as accepted; a queue that was left alone agrees.
    flow = rows_of(response.context["flow_table"])["order-processing"]
    assert flow["figures"][:2] == [("Accepted", "1"), ("= Waiting", "1")]
    assert not flow["agrees"]
    assert "accepted is 1, but there are 6 runs" in response.content.decode()
    queues = rows_of(response.context["queue_table"])
    assert (queues["orders"]["agrees"], queues["billing"]["agrees"]) == (True, False)


def test_where_rows_are_many_counters_are_shown_at_once_and_a_worker_compares(
    client, run, check, monkeypatch
):
    monkeypatch.setattr(conservation, "MOST_AT_ONCE", 0)

    first = client.get(check)

    assert "Nothing was checked yet." in first.content.decode()
    flow = rows_of(first.context["flow_table"])["order-processing"]
    assert flow["figures"][0] == ("Accepted", "1")
    assert not ConservationCheck.objects.exists()

    begun = client.post(check, follow=True)

    assert "A worker compares all rows now" in begun.content.decode()
    [queued] = OrmQ.objects.all()
    assert queued.func() == "flows.tasks.conservation.check_and_store"
    assert task_fault(queued.func()) == ""

    check_and_store()
    live = client.get(begun.request["PATH_INFO"] + "?after=0", headers={"HX-Request": "true"})

    assert "data-live-ended" in live.content.decode()
    assert "accepted is 1, but there are 6 runs" in live.content.decode()


def test_a_user_without_a_role_sees_no_flow_and_checks_nothing(staff_client, run, check):
    client = staff_client("flows.view_queue")

    assert "flows" not in home(client).context
    assert client.get(check).status_code == 403
