from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django_q.models import OrmQ

from flows import engine
from flows.models import AuditEntry, Right, Run
from tests.integration.api.helpers import (
    assert_problem,
    client_of,
    grant,
    make_loan_flow,
    undone,
    work_tasks,
)

PATH = "/async/api/runs/cancel"


@pytest.fixture(autouse=True)
def a_request_cancels_all(monkeypatch):
    """However slow the machine is: after a second the rest would be left to tasks."""
    monkeypatch.setattr("flows.tasks.cancelling.SLICE_SECONDS", 600.0)


@pytest.fixture
def flows(flow):
    make_loan_flow("other")


@pytest.fixture
def caller(client, user, flows):
    grant(user, Right.OPERATE, None)
    return client


def start(name: str = "loan", **options: Any) -> Run:
    return Run.objects.get(pk=engine.start(name, {}, **options).correlation_id)


def cancel(client, filter: Any, **body: Any) -> Any:
    return client.post(PATH, {"filter": filter, **body}, content_type="application/json")


def cancelled() -> set[Run]:
    return set(Run.objects.filter(status="CANCELLED"))


def test_matching_runs_are_cancelled_and_counted_by_flow(caller, user):
    runs = [start() for _ in range(3)]
    other = start("other")
    ended = start()
    Run.objects.filter(pk=ended.pk).update(status="COMPLETED")

    response = cancel(caller, {"flowName": "loan"}, reason="wrong prices")

    assert response.status_code == 202
    assert response.json() == {
        "matched": 3,
        "cancelled": 3,
        "isComplete": True,
        "flows": [{"flowName": "loan", "matched": 3}],
    }
    assert cancelled() == set(runs)
    entries = AuditEntry.objects.filter(verb="cancel")
    assert {(entry.reason, entry.actor) for entry in entries} == {("wrong prices", "caller")}
    other.refresh_from_db()
    assert other.status == "QUEUED"
    assert not OrmQ.objects.exists()


def test_dry_run_counts_and_cancels_nothing(caller):
    start()
    start("other")

    document = cancel(caller, {}, dryRun=True).json()

    assert (document["matched"], document["cancelled"], document["isComplete"]) == (2, 0, False)
    assert document["flows"] == [
        {"flowName": "loan", "matched": 1},
        {"flowName": "other", "matched": 1},
    ]
    assert not cancelled()


def test_tasks_cancel_what_is_left_after_a_second_and_nothing_newer(caller, monkeypatch):
    monkeypatch.setattr("flows.tasks.cancelling.SLICE_SECONDS", 0.0)
    runs = [start() for _ in range(4)]

    document = cancel(caller, {"flowName": "loan"}).json()
    newer = start()
    tasks = work_tasks()

    assert (document["matched"], document["cancelled"], document["isComplete"]) == (4, 1, False)
    assert tasks == 4
    assert cancelled() == set(runs)
    newer.refresh_from_db()
    assert newer.status == "QUEUED"


def test_tasks_cancel_nothing_once_the_right_is_gone(caller, user, monkeypatch):
    monkeypatch.setattr("flows.tasks.cancelling.SLICE_SECONDS", 0.0)
    runs = [start() for _ in range(3)]

    cancel(caller, {}, all=True)
    user.groups.clear()
    work_tasks()

    assert cancelled() == {runs[0]}


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({}, {0, 1, 2, 3}),
    ({"flowName": "other"}, {3}),
    ({"status": ["RUNNING"]}, {1}),
    ({"status": ["RUNNING", "QUEUED"]}, {0, 1, 2, 3}),
    ({"status": []}, {0, 1, 2, 3}),
    ({"labels": {"order": "7"}}, {1, 2}),
    ({"labels": {"order": "7", "half": "b"}}, {2}),
    ({"startedBy": "me"}, {0}),
    ({"startedBy": "another"}, {1}),
    ({"startedBy": "nosuch"}, set()),
    ({"createdBefore": "2026-01-01T00:00:00Z"}, set()),
    ({"createdAfter": "2026-01-01T00:00:00Z", "flowName": "loan"}, {0, 1, 2}),
    ({"parent": "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e"}, set()),
]


def test_every_part_of_the_filter(caller, user):
    runs = [
        start(user=user),
        start(user=User.objects.create_user("another"), labels={"order": "7"}),
        start(labels={"order": "7", "half": "b"}),
        start("other"),
    ]
    Run.objects.filter(pk=runs[1].pk).update(status="RUNNING")

    for filter, expected in FILTERS:
        with undone():
            document = cancel(caller, filter, all=not any(filter.values())).json()
            assert document["matched"] == len(expected), filter
            assert cancelled() == {runs[number] for number in expected}, filter


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("rights", "everywhere", "expected"),
    [
        ({Right.OPERATE}, False, {"own loan", "loan"}),
        ({Right.START}, False, {"own loan"}),
        ({Right.START}, True, {"own loan", "own other"}),
        ({Right.START, Right.WATCH}, False, {"own loan"}),
        ({Right.OPERATE}, True, {"own loan", "own other", "loan", "other"}),
    ],
)
def test_runs_that_the_caller_may_not_cancel_are_left_out(
    client, user, flow, flows, rights, everywhere, expected
):
    runs = {
        **{name: start(name) for name in ("loan", "other")},
        **{f"own {name}": start(name, user=user) for name in ("loan", "other")},
    }
    for right in rights:
        grant(user, right, None if everywhere else flow)

    cancel(client, {}, all=True)

    assert cancelled() == {runs[name] for name in expected}


@pytest.mark.parametrize("right", [None, Right.WATCH, Right.CONFIGURE])
def test_caller_who_may_cancel_nothing_is_refused(client, user, flow, right):
    if right:
        grant(user, right, flow)

    assert_problem(cancel(client, {}), 403, "no-role")


EMPTY: list[Any] = [{}, {"status": []}, {"labels": {}}, {"status": [], "labels": {}}]


def test_an_empty_filter_cancels_nothing_unless_all_is_said(caller):
    run = start()

    for filter in EMPTY:
        problem = assert_problem(cancel(caller, filter), 400, "payload-invalid")
        assert problem["errors"][0]["path"] == "$.filter"
        assert '"all": true' in problem["errors"][0]["detail"]
        assert_problem(cancel(caller, filter, all=False), 400, "payload-invalid")
        assert cancel(caller, filter, dryRun=True).json()["matched"] == 1
    assert not cancelled()

    body = {"all": True}
    answer = caller.post(PATH, body, content_type="application/json")

    assert answer.json()["cancelled"] == 1
    assert cancelled() == {run}


WRONG_REQUESTS: list[Any] = [
    {},
    {"all": False},
    {"all": "yes"},
    {"all": True, "filter": {"flowName": "loan"}},
    {"dryRun": True},
    {"filter": []},
    {"filter": {"status": "QUEUED"}},
    {"filter": {"status": ["COMPLETED"]}},
    {"filter": {"flow": "loan"}},
    {"filter": {"createdAfter": "yesterday"}},
    {"filter": {"createdAfter": "9999-12-31T23:59:59-12:00"}},
    {"filter": {"parent": "x"}},
    {"filter": {"parent": "{01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e}"}},
    {"filter": {"labels": {"order": 7}}},
    {"filter": {}, "dryRun": "yes"},
    {"filter": {}, "reason": "x" * 501},
    {"filter": {}, "ratePerSecond": 5},
]


def test_an_unknown_part_of_the_filter_is_refused_with_those_that_are_known(caller):
    body = {"filter": {"label": "order:7", "startedBy": 5}}

    problem = assert_problem(
        caller.post(PATH, body, content_type="application/json"), 400, "payload-invalid"
    )

    unknown, other = problem["errors"]
    assert unknown["path"] == "$.filter.label"
    assert unknown["detail"].startswith("unknown; known are flowName, status, labels")
    assert other["path"] == "$.filter.startedBy"


def test_wrong_requests_are_refused(caller):
    start()

    for body in WRONG_REQUESTS:
        response = caller.post(PATH, body, content_type="application/json")

        assert_problem(response, 400, "payload-invalid")
        assert not cancelled(), body


def test_superuser_cancels_runs_of_deleted_flows(admin, flow):
    run = start()
    flow.delete()

    assert cancel(client_of(admin), {"flowName": "loan"}).json()["cancelled"] == 1
    assert cancelled() == {run}
