"""Start rates: how many runs callers may start in a time, and what they are told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flows import public
from flows.api import batch_starter
from flows.models import Flow, Queue, RecentStarts, Run
from flows.starts import rates
from flows.starts.refusals import refusals
from flows.store import store
from tests.integration.api.helpers import PASSWORD, assert_problem, client_of, grant

START, OWN = "/async/api/start?flowName=loan", "/async/api/flows/loan/start"
BATCH = "/async/api/start/batch?flowName=loan"
JSON = "application/json"


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    rates.forget()
    refusals.forget()


class Clock:
    """The clock of the database, and that of this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at = store().database.now()
        self.seconds = 1_000.0
        patch.setattr(type(store().database), "now", lambda database: self.at)
        patch.setattr(rates.time, "monotonic", lambda: self.seconds)
        patch.setattr(batch_starter.time, "monotonic", lambda: self.seconds)
        patch.setattr(batch_starter.time, "sleep", self.pass_by)

    def pass_by(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, db: None) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def caller(user: User, flow: Flow) -> Client:
    """A client that may start the flow three times in ten seconds."""
    grant(user)
    Flow.objects.update(start_rate_count=3, start_rate_period=timedelta(seconds=10))
    return client_of(user)


def start(by: Client, path: str = START, **headers: str) -> Any:
    return by.post(path, {"amount": 5}, JSON, headers=headers)


@pytest.mark.parametrize("path", [START, OWN])
def test_a_start_beyond_the_rate_of_the_flow_is_refused_until_the_first_one_is_old_enough(
    caller: Client, clock: Clock, path: str
):
    accepted = []
    for _ in range(3):
        accepted.append(start(caller, path))
        clock.pass_by(2)
    refused = [start(caller, path) for _ in range(2)]
    clock.pass_by(4.001)
    again = [start(caller, path).status_code for _ in range(2)]

    assert [each["RateLimit"] for each in accepted] == [
        '"flow";r=2;t=10',
        '"flow";r=1;t=8',
        '"flow";r=0;t=6',
    ]
    for each in [*accepted, *refused]:
        assert each["RateLimit-Policy"] == '"flow";q=3;w=10'
    for each in refused:
        assert_problem(each, 429, "throttled")
        assert (each["RateLimit"], each["Retry-After"]) == ('"flow";r=0;t=4', "4")
    assert again == [202, 429]
    assert Run.objects.count() == 4


def test_the_rate_of_users_is_one_for_each_over_all_flows(
    user: User, flow: Flow, settings: Any, clock: Clock
):
    settings.ASYNCENGINE_START_RATE = (1, 60)
    other = User.objects.create_user("other", password=PASSWORD)
    grant(user)
    grant(other)
    Flow.objects.update(start_rate_count=2)

    answers = [start(client_of(each)) for each in (user, user, other)]

    assert [each.status_code for each in answers] == [202, 429, 202]
    assert answers[1]["RateLimit"] == '"user";r=0;t=60'
    assert answers[2]["RateLimit"] == '"flow";r=0;t=1, "user";r=0;t=60'
    assert answers[2]["RateLimit-Policy"] == '"flow";q=2;w=1, "user";q=1;w=60'


def test_superusers_django_code_and_repeats_do_not_count(caller: Client, admin: User, clock: Clock):
    first = start(caller, **{"Idempotency-Key": "a"})
    for _ in range(4):
        assert start(client_of(admin)).status_code == 202
        public.start("loan", {"amount": 5})
        repeat = start(caller, **{"Idempotency-Key": "a"})
        assert repeat.json()["correlationId"] == first.json()["correlationId"]
        assert repeat["RateLimit"] == '"flow";r=2;t=10'

    assert "RateLimit" not in start(client_of(admin))


def test_a_repeat_is_answered_also_where_the_rate_is_exhausted(caller: Client, clock: Clock):
    first = start(caller, **{"Idempotency-Key": "a"})
    assert [start(caller).status_code for _ in range(3)] == [202, 202, 429]

    repeat = start(caller, **{"Idempotency-Key": "a"})

    assert repeat.status_code == 202
    assert repeat.json()["correlationId"] == first.json()["correlationId"]


@pytest.mark.parametrize(
    ("change", "body", "status"),
    [({"size": 0}, b"{}", 429), ({}, b"[]", 400)],
)
def test_a_start_that_is_refused_for_something_else_does_not_count(
    caller: Client, clock: Clock, change: dict[str, int], body: bytes, status: int
):
    if change:
        Queue.objects.update(size=1)
        start(caller)

    refused = caller.post(START, body, JSON)

    assert refused.status_code == status
    counted = RecentStarts.objects.values_list("starts", flat=True)
    assert sum(each.count("[", 1) for each in counted) == (1 if change else 0)


def test_where_no_rate_is_set_a_start_reads_and_writes_nothing_more(user: User, flow: Flow):
    grant(user)
    client = client_of(user)
    start(client)

    with CaptureQueriesContext(connection) as queries:
        assert "RateLimit" not in start(client)

    assert not [query for query in queries if "recentstarts" in query["sql"]]


def test_a_refusal_after_the_first_one_asks_the_database_nothing_of_it(
    caller: Client, clock: Clock
):
    assert [start(caller).status_code for _ in range(4)] == [202, 202, 202, 429]

    with CaptureQueriesContext(connection) as queries:
        assert start(caller).status_code == 429

    assert not [query for query in queries if "recentstarts" in query["sql"]]


def test_another_rate_counts_at_once(caller: Client, clock: Clock):
    assert [start(caller).status_code for _ in range(4)] == [202, 202, 202, 429]

    Flow.objects.update(start_rate_count=4)

    assert [start(caller).status_code for _ in range(2)] == [202, 429]


def test_a_clock_that_was_set_back_stops_no_starts(caller: Client, clock: Clock):
    assert [start(caller).status_code for _ in range(3)] == [202, 202, 202]

    clock.at -= timedelta(hours=1)
    clock.seconds += 10.001

    assert start(caller).status_code == 202


def test_a_batch_stops_at_the_line_beyond_the_rate(caller: Client, clock: Clock):
    answer = caller.post(BATCH, [{"n": n} for n in range(5)], JSON)
    nothing = caller.post(BATCH, [{"n": n} for n in range(5)], JSON)

    document = answer.json()
    assert (answer.status_code, answer["Retry-After"]) == (202, "10")
    assert (document["accepted"], document["nextLine"]) == (3, 4)
    assert document["rejected"][0]["type"] == "/async/problems/throttled"
    assert answer["RateLimit"] == '"flow";r=0;t=10'
    assert_problem(nothing, 429, "throttled")


@pytest.mark.parametrize("keys", ["", "&keyField=id"])
def test_a_batch_waits_for_its_rate(caller: Client, clock: Clock, keys: str):
    lines = [{"id": f"{n}"} for n in range(8)]

    answer = caller.post(f"{BATCH}&wait=15{keys}", lines, JSON)

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 8
    assert 20 <= clock.seconds - 1_000 < 21


def test_a_batch_that_is_sent_again_passes_its_started_lines_without_the_rate(
    caller: Client, clock: Clock
):
    lines = [{"id": f"{n}"} for n in range(5)]
    first = caller.post(f"{BATCH}&keyField=id", lines, JSON).json()

    again = caller.post(f"{BATCH}&keyField=id", lines, JSON).json()
    clock.pass_by(10.001)
    last = caller.post(f"{BATCH}&keyField=id", lines, JSON).json()

    assert [each["nextLine"] for each in (first, again)] == [4, 4]
    assert again["correlationIds"] == first["correlationIds"]
    assert last["accepted"] == Run.objects.count() == 5


def test_a_run_that_is_started_again_counts(caller: Client, user: User, clock: Clock):
    runs = [start(caller).json()["correlationId"] for _ in range(3)]
    Run.objects.update(status=Run.Status.FAILED)

    answer = caller.post(f"/async/api/runs/{runs[0]}/again", "", JSON)

    assert_problem(answer, 429, "throttled")


@pytest.mark.parametrize(("path", "type_"), [(START, JSON), (BATCH, "application/x-ndjson")])
def test_a_start_that_is_stored_is_said_so_though_the_database_goes_away_after_it(
    caller: Client, path: str, type_: str
):
    with mock.patch("flows.api.rate_headers.standings", side_effect=OperationalError("away")):
        response = caller.post(path, b'{"amount": 5}', type_)

    assert response.status_code == 202
    assert Run.objects.count() == 1
    assert "RateLimit" not in response
