from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from flows import engine
from flows.api.openapi.examples import NOT_IN_SUMMARY
from flows.models import DeadLetter, Message, Right, Run, StepRun
from flows.models.uuid7 import first_uuid7
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import trace
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow

PATH = "/async/api/runs"


def start(name="loan", user=None) -> Run:
    return Run.objects.get(pk=engine.start(name, {}, user=user).correlation_id)


def ids(response):
    assert response.status_code == 200, response.content
    return [run["correlationId"] for run in response.json()["results"]]


def listed(client, **query):
    return ids(client.get(PATH, query))


@pytest.fixture
def watcher(client, user, flow):
    grant(user, Right.WATCH, flow)
    return client


def test_runs_are_listed_the_newest_first(watcher):
    runs = [start() for _ in range(3)]

    assert listed(watcher) == [str(run.pk) for run in reversed(runs)]


def test_run_is_shown_as_by_itself_without_steps_and_result(watcher):
    run = start()
    Run.objects.update(status="COMPLETED", result="7", finished_at=timezone.now())
    Message.objects.all()._raw_delete("default")

    [shown] = watcher.get(PATH).json()["results"]

    alone = watcher.get(f"{PATH}/{run.pk}").json()
    assert shown == {name: value for name, value in alone.items() if name not in NOT_IN_SUMMARY}


def ended_as_letter(run, **letter):
    Message.objects.filter(pk=run.pk)._raw_delete("default")
    Run.objects.filter(pk=run.pk).update(status="FAILED")
    step = run.flow_version.steps.get(position=1)
    now = timezone.now()
    DeadLetter.objects.create(
        run=run, step=step, reason="rejected", error="no", body="{}", deliveries=1, dead_at=now
    )
    DeadLetter.objects.filter(run=run).update(**letter)


def attempt(run, position, outcome="COMPLETED"):
    step = run.flow_version.steps.get(position=position)
    now = timezone.now()
    StepRun.objects.create(run=run, step=step, outcome=outcome, started_at=now, finished_at=now)


def test_current_step_is_the_same_as_that_of_the_run_alone(watcher):
    waiting, moved, failed, discarded, cancelled, done = (start() for _ in range(6))
    Message.objects.filter(pk=moved.pk).update(step=moved.flow_version.steps.get(position=1))
    attempt(moved, 0)
    attempt(failed, 0)
    ended_as_letter(failed)
    attempt(discarded, 0)
    attempt(discarded, 1, "REJECTED")
    ended_as_letter(discarded, discarded_at=timezone.now())
    attempt(cancelled, 0)
    engine.cancel(cancelled)
    Message.objects.filter(pk=done.pk)._raw_delete("default")
    Run.objects.filter(pk=done.pk).update(status="COMPLETED")

    shown = {run["correlationId"]: run for run in watcher.get(PATH).json()["results"]}

    expected = ["step 1", "step 2", "step 2", "step 2", "step 2", None]
    runs = [waiting, moved, failed, discarded, cancelled, done]
    assert [shown[str(run.pk)]["currentStep"] for run in runs] == expected
    for run in Run.objects.all():
        assert trace(run)["currentStep"] == shown[str(run.pk)]["currentStep"]


def test_pages_follow_each_other_by_next_and_keep_the_filters(watcher):
    runs = [start() for _ in range(5)]
    Run.objects.filter(pk=runs[2].pk).update(status="FAILED")

    with mock.patch("flows.api.pages.PAGE_SIZE", 2):
        first = watcher.get(PATH, {"flowName": "loan", "status": "QUEUED"})
        following = first.json()["next"]
        second = watcher.get(following)

    assert following.startswith(f"http://testserver{PATH}?flowName=loan&status=QUEUED&cursor=")
    assert ids(first) + ids(second) == [str(runs[n].pk) for n in (4, 3, 1, 0)]
    assert second.json()["next"] is None


def test_filters_by_flow_and_status(client, user, flow):
    make_loan_flow("other")
    grant(user, Right.WATCH, None)
    loan, other = start(), start("other")
    engine.cancel(other)

    assert listed(client, flowName="loan") == [str(loan.pk)]
    assert listed(client, status="CANCELLED") == [str(other.pk)]
    assert listed(client, flowName="loan", status="CANCELLED") == []
    assert listed(client, flowName="unknown") == []


def test_times_bound_the_runs_to_the_microsecond(watcher):
    first, second, third = (start() for _ in range(3))
    moment = rfc3339(second.created_at)

    assert listed(watcher, createdAfter=moment) == [str(third.pk), str(second.pk)]
    assert listed(watcher, createdBefore=moment) == [str(first.pk)]
    assert listed(watcher, createdAfter=moment, createdBefore=rfc3339(third.created_at)) == [
        str(second.pk)
    ]


def test_times_are_read_with_any_offset_and_an_unescaped_plus(watcher):
    run = start()
    earlier = (timezone.now() - timedelta(hours=1)).replace(tzinfo=None, microsecond=0)
    local = (earlier + timedelta(hours=2)).isoformat()

    for text in (f"{local}%2B02:00", f"{local}+02:00", f"{earlier.isoformat()}z"):
        assert ids(watcher.get(f"{PATH}?createdAfter={text}")) == [str(run.pk)]
        assert ids(watcher.get(f"{PATH}?createdBefore={text}")) == []


def test_times_bound_the_ids_too():
    moment = datetime.fromisoformat("2026-11-02T09:30:00.120+00:00")

    first = first_uuid7(moment, timedelta(0))

    assert first.int >> 80 == 1793611800120
    assert first_uuid7(datetime.fromisoformat("0001-01-01T00:00:00+00:00"), timedelta(0)).int == 0
    assert first.int & ((1 << 80) - 1) == 0


WRONG_QUERIES: list[Any] = [
    "flowName=",
    "flowName=%00",
    "status=DONE",
    "status=",
    "createdAfter=yesterday",
    "createdAfter=2026-11-02",
    "createdAfter=2026-11-02T09:30:00",
    "createdBefore=2026-13-02T09:30:00Z",
    "createdBefore=0001-01-01T00:00:00%2B14:00",
    "cursor=",
    "cursor=x",
    "cursor=MQ",
    "cursor=ä",
    "page=2",
    "parent=x&parent=y",
    "pageSize=0",
    "pageSize=501",
    "pageSize=ten",
    "order=status",
    "label=x",
    "cursor=MQ&order=finishedAt",
    "startedBy=",
    "idempotencyKey=",
    "idempotencyKey=a%00b",
    f"idempotencyKey={'x' * 256}",
    "finishedAfter=now",
]


def test_wrong_query_is_refused_and_the_parameter_named(watcher):
    for query in WRONG_QUERIES:
        document = assert_problem(watcher.get(f"{PATH}?{query}"), 400, "query-invalid")

        assert document["errors"][0]["parameter"] == query.partition("=")[0], query


@pytest.mark.parametrize("right", [Right.WATCH, Right.OPERATE])
def test_who_watches_or_operates_a_flow_sees_all_its_runs_and_no_others(client, user, flow, right):
    make_loan_flow("other")
    grant(user, right, flow)
    run = start()
    start("other", user)

    assert listed(client) == [str(run.pk)]


@pytest.mark.parametrize("everywhere", [False, True])
def test_who_may_only_start_sees_own_runs(client, user, flow, everywhere):
    grant(user, Right.START, None if everywhere else flow)
    own = start(user=user)
    start(user=User.objects.create_user("another"))
    start()

    assert listed(client) == [str(own.pk)]


def test_caller_without_rights_sees_nothing(client, user, flow):
    start(user=user)

    assert client.get(PATH).json() == {"results": [], "next": None, "nextCursor": None}


def test_superuser_sees_runs_of_deleted_flows(admin, flow):
    run = start()
    flow.delete()

    assert listed(client_of(admin)) == [str(run.pk)]


def reads(queries):
    """Return the statements that read rows, without those that bound the time."""
    return [each for each in queries if " FROM " in each["sql"]]


def test_number_of_queries_does_not_grow_with_the_runs(watcher):
    for n in range(12):
        run = start()
        if n % 3 == 0:
            engine.cancel(run)
        if n % 3 == 1:
            ended_as_letter(run)
    watcher.get(PATH)

    with CaptureQueriesContext(connection) as queries:
        assert len(listed(watcher)) == 12

    assert len(reads(queries)) <= 9


def test_nothing_is_counted(watcher):
    start()

    with CaptureQueriesContext(connection) as queries:
        watcher.get(PATH)

    assert len(reads(queries)) <= 10
    assert not [query for query in queries if "COUNT(" in query["sql"].upper()]


def test_caller_without_credentials_is_asked_for_them(anonymous):
    assert_problem(anonymous.get(PATH), 401, "not-authenticated")


def test_wrong_method_is_refused(client):
    assert_problem(client.post(PATH), 405, "method-not-allowed")
