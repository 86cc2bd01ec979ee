"""What a caller may not see is not there: no answer tells it from what does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows import engine
from flows.models import FlowSchedule, Queue, Right, WebhookDelivery
from tests.integration.api.helpers import (
    assert_problem,
    client_of,
    grant,
    make_loan_flow,
    undone,
)

from .test_dead_letters import make_dead_letter

NO_RUN = UUID("01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e")
SEES_RUNS = {Right.WATCH, Right.OPERATE}
SEES_FLOW = SEES_RUNS | {Right.START}


@dataclass(frozen=True)
class Operation:
    """A call with the name of a thing in its path, and which rights see it and which do it."""

    method: str
    path: str
    sees: set[Right]
    does: set[Right]
    # What who may do it is answered; 0: any status of success.
    status: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


OPERATE, CONFIGURE = {Right.OPERATE}, {Right.CONFIGURE}
OPERATIONS = [
    Operation("get", "flows/{flow}", SEES_FLOW, SEES_FLOW),
    Operation("post", "flows/{flow}/pause", SEES_FLOW, OPERATE),
    Operation("post", "flows/{flow}/resume", SEES_FLOW, OPERATE),
    Operation("get", "queues/{queue}", SEES_RUNS, SEES_RUNS),
    Operation("post", "queues/{queue}/pause", SEES_RUNS, OPERATE),
    Operation("post", "queues/{queue}/resume", SEES_RUNS, OPERATE),
    Operation("get", "flows/{flow}/schedules", SEES_FLOW, SEES_RUNS),
    Operation("get", "flows/{flow}/schedules/{schedule}", SEES_FLOW, SEES_RUNS),
    # The body is looked at last.
    Operation("put", "flows/{flow}/schedules/{schedule}", SEES_FLOW, CONFIGURE, 400),
    Operation("delete", "flows/{flow}/schedules/{schedule}", SEES_FLOW, CONFIGURE),
    Operation("post", "flows/{flow}/schedules/{schedule}/pause", SEES_FLOW, OPERATE),
    Operation("post", "flows/{flow}/schedules/{schedule}/resume", SEES_FLOW, OPERATE),
    Operation("get", "runs/{run}", SEES_RUNS, SEES_RUNS),
    Operation("get", "runs/{run}?wait=0.01", SEES_RUNS, SEES_RUNS),
    Operation("get", "runs/{run}/input", SEES_RUNS, SEES_RUNS),
    Operation("get", "runs/{run}/result", SEES_RUNS, SEES_RUNS, 409),
    Operation("get", "runs/{run}/logs", SEES_RUNS, SEES_RUNS),
    Operation("post", "runs/{own}/again", SEES_RUNS | {Right.START}, {Right.START}, 409),
    # Without the front there are no streams.
    Operation("get", "runs/{run}/events", SEES_RUNS, SEES_RUNS, 501),
    Operation("get", "events?flowName={flow}", SEES_FLOW, SEES_FLOW, 501),
    Operation("get", "runs/{run}/webhooks", SEES_RUNS, SEES_RUNS),
    Operation("post", "webhooks/{webhook}/replay", SEES_RUNS, OPERATE),
    Operation("post", "runs/{run}/cancel", SEES_RUNS, OPERATE),
    Operation("get", "runs/{own}", SEES_RUNS | {Right.START}, SEES_RUNS | {Right.START}),
    Operation("get", "runs/{own}/input", SEES_RUNS | {Right.START}, SEES_RUNS | {Right.START}),
    Operation("post", "runs/{own}/cancel", SEES_RUNS | {Right.START}, {*OPERATE, Right.START}),
    Operation("get", "dead-letters/{letter}", SEES_RUNS, SEES_RUNS),
    Operation("post", "dead-letters/{letter}/reprocess", SEES_RUNS, OPERATE),
    Operation("delete", "dead-letters/{letter}", SEES_RUNS, OPERATE),
]
TO_RUNS = [right for right in Right if right != Right.CONFIGURE]
RIGHTS: list[set[Any]] = [
    *(set(each) for count in range(len(TO_RUNS) + 1) for each in combinations(TO_RUNS, count)),
    {Right.CONFIGURE},
    {Right.CONFIGURE, Right.START},
]


@pytest.fixture
def things(flow, user) -> dict[str, Any]:
    """What is there, by its kind."""
    make_loan_flow("other")
    letter = make_dead_letter()
    run = engine.start("loan", {})
    FlowSchedule.objects.create(flow=flow, name="nightly", cron="0 1 * * *")
    webhook = WebhookDelivery.objects.create(
        id=uuid7(),
        run_id=run.correlation_id,
        flow=flow.pk,
        url="https://receiver.example/",
        at=timezone.now(),
    )
    return {
        "flow": "loan",
        "queue": "loan queue 1",
        "schedule": "nightly",
        "run": run.correlation_id,
        "webhook": webhook.pk,
        "own": engine.start("loan", {}, user=user).correlation_id,
        "letter": letter.pk,
    }


# The same length as of those that are there.
NOTHING = {
    "flow": "laon",
    "queue": "laon queue 1",
    "schedule": "nihgtly",
    "run": NO_RUN,
    "webhook": NO_RUN,
    "own": NO_RUN,
    "letter": 987_654_321,
}


def ask(by: Any, operation: Operation, names: dict[str, Any]) -> Any:
    path = f"/async/api/{operation.path.format(**names)}"
    return getattr(by, operation.method)(path, content_type="application/json")


def shape(response: Any, names: dict[str, Any]) -> Any:
    """Return all of a response but the name that was asked for."""
    body = response.content
    for name in ("flow", "queue"):
        body = body.replace(str(names[name]).encode(), b"NAME")
    return response.status_code, dict(response.headers), body


@pytest.mark.sampled(2)
@pytest.mark.parametrize("everywhere", [False, True])
def test_who_does_who_is_refused_and_who_sees_nothing(client, user, flow, things, everywhere):
    for rights in RIGHTS:
        with undone():
            for right in rights:
                grant(user, right, None if everywhere else flow)

            for operation in OPERATIONS:
                with undone():
                    response = ask(client, operation, things)

                # Users see what they change.
                seen = rights | {Right.WATCH} if Right.CONFIGURE in rights else rights
                case = f"{operation} with {rights}"
                if seen & operation.does:
                    expected = operation.status
                    assert response.status_code == expected or response.status_code < 400, case
                elif seen & operation.sees:
                    assert_problem(response, 403, "no-role")
                else:
                    assert response.status_code == 404, case
                    missing = ask(client, operation, NOTHING)
                    assert shape(response, things) == shape(missing, NOTHING), case


def numbers(client: Any) -> dict[str, Any]:
    """Return how much the operations show that name no thing, or the status of a refusal."""

    def found(method: str, path: str, body: Any = None) -> Any:
        ask_by = getattr(client, method)
        response = ask_by(f"/async/api/{path}", body, content_type="application/json")
        document = response.json()
        if response.status_code >= 400:
            return response.status_code
        if "results" in document:
            return len(document["results"])
        return document["total"] if "total" in document else document["matched"]

    counted = {"filter": {}, "dryRun": True}
    lists = ("runs", "runs/counts", "dead-letters", "reprocessings", "flows", "queues")
    return {
        **{path: found("get", path) for path in lists},
        "runs/cancel": found("post", "runs/cancel", counted),
        "dead-letters/reprocess": found("post", "dead-letters/reprocess", counted),
        "auth/tokens": found("get", "auth/tokens"),
    }


@pytest.mark.sampled(2)
@pytest.mark.parametrize("everywhere", [False, True])
def test_lists_counts_and_bulk_operations_are_about_what_the_caller_sees(
    client, user, flow, things, everywhere
):
    for rights in RIGHTS:
        with undone():
            for right in rights:
                grant(user, right, None if everywhere else flow)

            seen = rights | {Right.WATCH} if Right.CONFIGURE in rights else rights
            sees_runs, starts = bool(seen & SEES_RUNS), Right.START in rights
            operates = Right.OPERATE in rights
            # Of another flow there is no run, and of the three runs of this one two have not ended.
            runs = 3 if sees_runs else int(starts)
            assert numbers(client) == {
                "runs": runs,
                "runs/counts": runs,
                "dead-letters": int(sees_runs),
                "reprocessings": 0,
                "flows": (2 if everywhere else 1) if seen & SEES_FLOW else 0,
                "queues": (4 if everywhere else 2) if sees_runs else 0,
                "runs/cancel": 2 if operates else 1 if starts else 403,
                "dead-letters/reprocess": 1 if operates else 403,
                "auth/tokens": 1,
            }, rights


def test_rights_to_another_flow_show_nothing(client, user, things):
    other = make_loan_flow("another")
    for right in Right:
        grant(user, right, other)

    for operation in OPERATIONS:
        hidden, missing = ask(client, operation, things), ask(client, operation, NOTHING)

        assert hidden.status_code == 404, operation
        assert shape(hidden, things) == shape(missing, NOTHING), operation


def test_what_is_hidden_takes_the_same_statements_as_what_is_not_there(client, user, things):
    grant(user, Right.START, make_loan_flow("another"))
    for operation in OPERATIONS:
        ask(client, operation, NOTHING)

        with CaptureQueriesContext(connection) as for_hidden:
            ask(client, operation, things)
        with CaptureQueriesContext(connection) as for_missing:
            ask(client, operation, NOTHING)

        assert len(for_hidden) == len(for_missing), operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs", "flowName"),
        ("dead-letters", "flowName"),
        ("dead-letters", "queue"),
        ("runs/counts", "flowName"),
    ],
)
def test_lists_tell_nothing_of_what_is_hidden(client, user, things, path, name):
    grant(user, Right.WATCH, make_loan_flow("another"))
    kind = "queue" if name == "queue" else "flow"

    hidden, missing = (
        client.get(f"/async/api/{path}", {name: names[kind]}) for names in (things, NOTHING)
    )

    assert shape(hidden, things) == shape(missing, NOTHING)


def test_bulk_reprocessing_tells_nothing_of_what_is_hidden(client, user, things):
    grant(user, Right.OPERATE, make_loan_flow("another"))

    def count(names: dict[str, Any]) -> Any:
        body = {"filter": {"flowName": names["flow"]}, "dryRun": True}
        path = "/async/api/dead-letters/reprocess"
        return client.post(path, body, content_type="application/json")

    assert count(things).json()["matched"] == 0
    assert shape(count(things), things) == shape(count(NOTHING), NOTHING)


def test_queue_without_a_step_is_hidden_from_all_but_those_who_see_every_flow(
    client, user, flow, admin
):
    Queue.objects.create(name="spare")
    grant(user, Right.WATCH, flow)
    grant(user, Right.OPERATE, flow)

    assert_problem(client.get("/async/api/queues/spare"), 404, "unknown-queue")
    assert client_of(admin).get("/async/api/queues/spare").status_code == 200


def test_start_still_tells_what_the_caller_may_not_start(client, things):
    for path in ("start?flowName={}", "start/batch?flowName={}", "flows/{}/start"):
        for name, status in ((things["flow"], 403), (NOTHING["flow"], 404)):
            url = f"/async/api/{path.format(name)}"
            assert client.post(url, b"[]", content_type="application/json").status_code == status
