"""Lists and counts of runs: each filter, each order, pages of each size."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from flows import engine
from flows.models import Right, Run
from flows.monitoring.times import rfc3339
from flows.store.bounded import OutOfTime
from tests.integration.api.helpers import assert_problem, grant, make_loan_flow

PATH = "/async/api/runs"
# After every start of the tests, however late they run: no run ends before it was started.
NOW = timezone.now() + timedelta(days=1)
STATUSES = ("QUEUED", "COMPLETED", "FAILED")


def at(minutes: int) -> str:
    return rfc3339(NOW + timedelta(minutes=minutes))


@pytest.fixture
def runs(client, user, flow) -> list[Run]:
    """Runs of two flows and two users; every second one took longer than the one after it."""
    make_loan_flow("other")
    grant(user, Right.WATCH, None)
    another = User.objects.create_user("another")
    made = []
    for number, (name, starter, status) in enumerate(
        product(("loan", "other"), (user, another), STATUSES)
    ):
        labels = {"order": str(number % 3), "half": str(number // 6)}
        started = engine.start(name, {}, user=starter, labels=labels)
        run = Run.objects.get(pk=started.correlation_id)
        took = timedelta(minutes=3 if number % 2 else 1)
        run.status = status
        if status != "QUEUED":
            run.finished_at = NOW + timedelta(minutes=number) + took
        run.save()
        made.append(run)
    return made


FILTERS = [
    ("status=FAILED", lambda run: run.status == "FAILED"),
    ("status=FAILED&status=QUEUED", lambda run: run.status in {"FAILED", "QUEUED"}),
    ("startedBy=me", lambda run: run.started_by.username == "caller"),
    ("startedBy=another", lambda run: run.started_by.username == "another"),
    ("startedBy=nosuch", lambda run: False),
    (
        "flowName=other&status=COMPLETED&startedBy=me",
        lambda run: (
            run.flow_version.flow_name == "other"
            and run.status == "COMPLETED"
            and run.started_by.username == "caller"
        ),
    ),
    (
        f"finishedAfter={at(4)}",
        lambda run: run.finished_at and run.finished_at >= NOW + timedelta(minutes=4),
    ),
    (
        f"finishedAfter={at(4)}&finishedBefore={at(8)}",
        lambda run: (
            run.finished_at
            and NOW + timedelta(minutes=4) <= run.finished_at < NOW + timedelta(minutes=8)
        ),
    ),
    ("label=order:1", lambda run: run.status == "COMPLETED"),
    (
        "label=order:2&label=half:1",
        lambda run: run.status == "FAILED" and run.flow_version.flow_name == "other",
    ),
    ("label=order:3", lambda run: False),
    (f"createdAfter={at(60)}", lambda run: False),
]


def pages(client, query: str) -> list[str]:
    """Return the ids of all pages, which are read by the cursor and by the address in turn."""
    ids: list[str] = []
    path = f"{PATH}?{query}"
    while path:
        response = client.get(path)
        assert response.status_code == 200, response.content
        page = response.json()
        assert len(page["results"]) <= 2
        ids += [run["correlationId"] for run in page["results"]]
        assert (page["next"] is None) == (page["nextCursor"] is None)
        path = page["next"] and (
            page["next"] if len(ids) % 4 else f"{PATH}?{query}&cursor={page['nextCursor']}"
        )
    return ids


@pytest.mark.long
def test_every_filter_lists_and_counts_the_runs_that_match(client, runs):
    for query, matches in FILTERS:
        matching = [run for run in runs if matches(run)]
        finished = [run for run in matching if run.finished_at]
        by_end = [str(each.pk) for each in sorted(finished, key=lambda e: (e.finished_at, e.pk))]
        oldest_first = [str(run.pk) for run in matching]

        assert pages(client, f"{query}&pageSize=2") == oldest_first[::-1], query
        assert pages(client, f"{query}&pageSize=2&order=createdAt") == oldest_first, query
        assert pages(client, f"{query}&pageSize=2&order=finishedAt") == by_end, query
        assert pages(client, f"{query}&pageSize=2&order=-finishedAt") == by_end[::-1], query

        counted = client.get(f"{PATH}/counts?{query}").json()
        for status in Run.Status.values:
            here = sum(run.status == status for run in matching)
            assert counted["counts"][status] == here, (query, status)
        assert counted["total"] == len(matching), query


def test_run_is_found_by_the_key_that_the_caller_has_started_it_with(client, user, runs):
    keyed = {
        name: engine.start(name, {}, user=user, idempotency_key="order-7").correlation_id
        for name in ("loan", "other")
    }
    another = User.objects.get(username="another")
    theirs = engine.start("loan", {}, user=another, idempotency_key="order-7").correlation_id

    def found(query: str) -> set[str]:
        return set(pages(client, f"idempotencyKey=order-7&pageSize=2{query}"))

    assert found("") == {str(pk) for pk in keyed.values()}
    assert found("&flowName=loan") == {str(keyed["loan"])}
    assert found("&startedBy=another") == {str(theirs)}
    assert pages(client, "idempotencyKey=order-8&pageSize=2") == []


@pytest.mark.parametrize("key", ["a,b", "ä 17", "x" * 255])
def test_run_is_found_by_each_key_that_a_line_of_a_batch_may_have(client, user, flow, key):
    grant(user, flow=flow)
    path = "/async/api/start/batch?flowName=loan&keyField=id"
    [run] = client.post(path, [{"id": key}], "application/json").json()["correlationIds"]

    found = client.get(PATH, {"idempotencyKey": key})

    assert [each["correlationId"] for each in found.json()["results"]] == [run]


def test_key_that_is_none_is_refused_with_what_it_must_be(client):
    refused = client.get(PATH, {"idempotencyKey": "x" * 256})

    assert_problem(refused, 400, "query-invalid")
    assert refused.json()["detail"] == "idempotencyKey: must have 1 to 255 characters, not 256"


def test_rare_runs_are_found_in_the_same_order_without_the_index(client, runs, monkeypatch):
    expected = [pages(client, f"pageSize=2&order={order}") for order in ("createdAt", "-createdAt")]

    monkeypatch.setattr("flows.api.runs.ALONG_INDEX_SECONDS", 0.0)

    found = [pages(client, f"pageSize=2&order={order}") for order in ("createdAt", "-createdAt")]
    assert found == expected == [[str(run.pk) for run in runs][::step] for step in (1, -1)]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/counts"])
def test_search_that_takes_too_long_is_stopped_and_refused(client, runs, path):
    with mock.patch("flows.api.runs.within", side_effect=OutOfTime):
        assert_problem(client.get(path), 400, "search-too-long")


def test_counts_are_of_the_runs_that_the_caller_may_see(client, user, flow):
    grant(user, Right.START, flow)
    engine.start("loan", {}, user=user)
    engine.start("loan", {})

    assert client.get(f"{PATH}/counts").json()["total"] == 1


def test_runs_of_a_flow_that_was_renamed_are_found_by_both_names(client, user, flow):
    grant(user, Right.OPERATE)
    before = engine.start("loan", {}, user=user, idempotency_key="a").correlation_id
    flow.name = "credit"
    flow.save()
    after = engine.start("credit", {}, user=user).correlation_id

    def found(query: str) -> list[str]:
        return [each["correlationId"] for each in client.get(f"{PATH}?{query}").json()["results"]]

    for key in ("idempotencyKey=a", "idempotencyKey=a&flowName=credit"):
        assert found(key) == [str(before)]
    assert found("flowName=credit") == [str(after), str(before)]
    assert found("flowName=loan") == [str(before)]
    assert client.get(f"{PATH}/counts?flowName=credit").json()["total"] == 2
    body = {"filter": {"flowName": "credit"}}
    answer = client.post(f"{PATH}/cancel", body, content_type="application/json").json()
    assert (answer["matched"], answer["cancelled"]) == (2, 2)
    flow.delete()
    assert found("flowName=credit") == [str(after)]
    assert found("flowName=loan") == [str(before)]
