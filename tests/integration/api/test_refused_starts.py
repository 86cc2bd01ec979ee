"""Starts that are refused are counted by flow, minute and cause."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from flows import public
from flows.errors import PayloadInvalid, QueueFull
from flows.models import Queue, RefusedStarts
from flows.models.counts import ENDLESS_FROM
from flows.monitoring.refused_starts import in_words, refused_starts
from flows.starts import refusals as refusals_module
from flows.starts.refusals import Refusals, refusals
from flows.tasks.counting import purge_counts
from tests.builders import ECHO, make_flow
from tests.integration.api.helpers import client_of
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_refusals_of_others():
    refusals.forget()


@pytest.fixture
def flow(db):
    return make_flow("orders", [ECHO])


@pytest.fixture
def caller(admin):
    return client_of(admin)


def post(client, flow, body):
    url = f"/async/api/start?flowName={flow.name}"
    return client.post(url, body, content_type="application/json")


def sums():
    """Return the sums over the minutes, and over the rows that are never purged."""
    rows = RefusedStarts.objects.all()
    endless = sum(row.count for row in rows if row.minute == ENDLESS_FROM)
    return sum(row.count for row in rows) - endless, endless


def written():
    """Return the sum over the minutes, which is that of the rows that are never purged, too."""
    minutes, endless = sums()
    assert minutes == endless
    return minutes


def counted(flow):
    refusals.write()
    return refused_starts(timezone.now() - timedelta(hours=1))[flow.name]


def test_a_full_queue_and_a_wrong_payload_are_counted_apart(caller, flow):
    Queue.objects.update(size=1)
    statuses = [post(caller, flow, "{}").status_code for _ in range(3)]
    statuses.append(post(caller, flow, "[]").status_code)

    found = counted(flow)

    assert statuses == [202, 429, 429, 400]
    assert found == {"full queue": 2, "payload": 1}
    assert in_words(found) == "2 by a full queue, 1 by the payload"


def test_an_accepted_start_writes_no_count(caller, flow):
    post(caller, flow, "{}")

    assert counted(flow) == {}
    assert not RefusedStarts.objects.exists()


def test_starts_by_django_code_and_by_the_admin_count_as_those_by_http(admin, flow):
    Queue.objects.update(size=1)
    public.start(flow.name, {})
    with pytest.raises(QueueFull):
        public.start(flow.name, {})
    with pytest.raises(PayloadInvalid):
        public.start_many(flow.name, [{}, b"[]"])
    client = Client()
    client.force_login(admin)

    answer = client.post(f"/admin/flows/flow/{flow.pk}/start/", {"payload": "{}", "priority": "4"})

    assert "is full" in answer.content.decode()
    assert counted(flow) == {"full queue": 2, "payload": 1}


@pytest.mark.django_db(transaction=True)
def test_a_refusal_in_a_transaction_is_written_after_it(flow):
    Queue.objects.update(size=1)
    public.start(flow.name, {})

    with transaction.atomic():
        with suppress(QueueFull):
            public.start(flow.name, {})
        assert not RefusedStarts.objects.exists()

    assert written() == 1


def test_each_line_of_a_batch_that_is_refused_counts(caller, flow):
    url = f"/async/api/start/batch?flowName={flow.name}"
    caller.post(url, "{}\n[]\n{}\n5\n", content_type="application/x-ndjson")

    assert counted(flow) == {"payload": 2}


def test_refusals_are_written_at_most_every_few_seconds():
    own = Refusals()
    for _ in range(100):
        own.add("orders", "full")

    assert written() == 1
    own.write()
    assert written() == 100


@pytest.mark.django_db(transaction=True)
def test_the_last_refusals_are_written_without_another_one(monkeypatch):
    monkeypatch.setattr("flows.starts.refusals.WRITE_SECONDS", 0.5)
    own = Refusals()
    for _ in range(7):
        own.add("orders", "payload")

    assert wait_for(lambda: written() == 7)


@pytest.mark.django_db(transaction=True)
def test_refusals_that_could_not_be_written_are_without_another_one(monkeypatch):
    monkeypatch.setattr("flows.starts.refusals.WRITE_SECONDS", 0.5)
    add = refusals_module._add
    failed: list[object] = []

    def fail_once(*args):
        if not failed:
            failed.append(args)
            raise DatabaseError
        add(*args)

    monkeypatch.setattr(refusals_module, "_add", fail_once)
    Refusals().add("orders", "full")

    assert wait_for(lambda: sums() == (1, 1))
    assert failed


def test_two_processes_add_to_the_same_minute():
    first, second = Refusals(), Refusals()
    first.add("orders", "full")
    second.add("orders", "full")

    assert written() == 2


def test_counts_wait_while_the_database_is_away(monkeypatch):
    own = Refusals()

    def fail(*args):
        raise DatabaseError

    with monkeypatch.context() as context:
        context.setattr("flows.starts.refusals._add", fail)
        own.add("orders", "full")
    own.write()

    assert written() == 1


def test_old_counts_are_purged():
    now = timezone.now()
    for age in (timedelta(days=20), timedelta(hours=1)):
        RefusedStarts.objects.create(minute=now - age, flow_name="f", cause="full", count=1)

    while purge_counts(now, 100):
        pass

    assert RefusedStarts.objects.count() == 1
