"""When a caller that a full queue refuses is told to come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flows import public
from flows.models import Flow, Message
from flows.monitoring.pace import MOST_SECONDS, with_jitter
from flows.store import store
from flows.tasks.counting import count
from flows.tasks.measures import Measured, no_measures
from tests.builders import make_flow
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db

# In the middle of a minute: with the last one 90 seconds count.
NOW = datetime(2030, 1, 31, 8, 0, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(store().database), "now", lambda self: NOW)


@pytest.fixture
def full() -> Flow:
    """A flow whose first queue is full since this moment."""
    flow = make_flow("orders", size=1)
    public.start("orders", {})
    return flow


def told() -> int:
    with pytest.raises(public.QueueFull) as refusal:
        public.start("orders", {})
    return refusal.value.retry_after


def leave(minutes_ago: int, **events: int) -> None:
    """Count messages that have left the queue in a minute."""
    measures = no_measures()
    measures["orders", "orders-0"].add(Measured(events))
    count(measures, NOW - timedelta(minutes=minutes_ago))


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("events", "least", "most"),
    [
        ({"completed": 9_000}, 1, 1),
        ({"completed": 45}, 2, 2),
        ({"completed": 5, "letters": 3, "cancelled": 1}, 10, 12),
        ({"completed": 1}, 90, 108),
        ({"redelivered": 9_000}, 1, 1),
    ],
)
@pytest.mark.parametrize("minutes_ago", [0, 1])
def test_the_pace_of_the_last_minutes_says_when_there_is_room(
    full: Flow, minutes_ago: int, events: dict[str, int], least: int, most: int
):
    leave(minutes_ago, **events)

    assert least <= told() <= most


def test_what_left_the_queue_before_that_counts_no_more(full: Flow):
    leave(2, completed=9_000)
    Message.objects.update(available_at=NOW - timedelta(minutes=2))

    assert 60 <= told() <= 72


@pytest.mark.parametrize("paused", ["flow", "queue"])
def test_where_queue_or_flow_is_paused_it_is_long(full: Flow, paused: str):
    leave(0, completed=9_000)
    if paused == "flow":
        public.pause(flow="orders")
    else:
        public.pause(queue="orders-0")

    assert 60 <= told() <= 72


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("start?flowName=orders", "{}"),
        ("flows/orders/start", "{}"),
        ("start/batch?flowName=orders", "[{}]"),
    ],
)
def test_each_refusal_of_the_api_says_it(full: Flow, admin_client: Client, path: str, body: str):
    public.pause(queue="orders-0")

    answer = admin_client.post(f"/async/api/{path}", body, "application/json")

    assert answer.status_code == 429
    assert 60 <= int(answer["Retry-After"]) <= 72


def test_many_refusals_read_the_pace_once_and_a_start_never(monkeypatch: pytest.MonkeyPatch):
    # As if both came within a second.
    monkeypatch.setattr("flows.monitoring.pace._shared.seconds", PATIENCE)
    make_flow("orders", size=1)
    with CaptureQueriesContext(connection) as of_start:
        public.start("orders", {})
    with CaptureQueriesContext(connection) as of_refusals:
        told()
        told()

    read = [
        sum("flows_countblock" in query["sql"] for query in queries)
        for queries in (of_start, of_refusals)
    ]
    assert read == [0, 1]


@pytest.mark.parametrize(
    ("seconds", "chance", "whole"),
    [(0.01, 1.0, 1), (1.2, 1.0, 2), (10, 0.0, 10), (10, 1.0, 12), (1e9, 0.5, MOST_SECONDS)],
)
def test_it_is_a_number_of_whole_seconds_within_limits(seconds: float, chance: float, whole: int):
    assert with_jitter(seconds, chance) == whole
