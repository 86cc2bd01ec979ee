"""The one module that a Django project imports."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from itertools import count
from math import nan
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from flows import public
from flows.models import DeadLetter, Flow, Message, Queue, Run
from tests.builders import ECHO, make_flow, work_until_idle

pytestmark = pytest.mark.django_db

REJECT = "def run(message, context):\n    raise Reject('no')\n"
PAYLOAD = "def run(message, context):\n    return message['payload']\n"


def payload_of(run: UUID) -> dict:
    return json.loads(Message.objects.get(pk=run).body)["payload"]


def test_a_run_is_started_worked_on_and_its_result_read_by_its_id():
    flow = make_flow(codes=[PAYLOAD])

    run = public.start("flow", {"amount": 1})
    queued = public.status(run)
    work_until_idle(flow)

    assert queued == "QUEUED"
    assert public.status(str(run)) == "COMPLETED"
    assert public.result(run) == {"amount": 1}


def test_many_runs_are_started_all_or_none():
    make_flow()

    runs = public.start_many("flow", ({"n": n} for n in range(3)))
    with pytest.raises(public.PayloadInvalid) as refusal:
        public.start_many("flow", [{"n": 1}, {"n": {1, 2}}])

    assert [payload_of(run) for run in runs] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert refusal.value.errors == [
        {"path": "$[1].n", "detail": "is of type set, which JSON does not have"}
    ]
    assert Run.objects.count() == 3


@pytest.mark.parametrize("start_at", [None, datetime(2100, 1, 1, tzinfo=UTC)])
def test_payloads_without_an_end_are_read_as_far_as_the_queue_has_room(settings, start_at):
    settings.ASYNCENGINE_MAX_DELAY_DAYS = 40_000
    make_flow()
    Queue.objects.update(size=250)
    read = count()

    with pytest.raises(public.QueueFull):
        public.start_many("flow", ({"n": n} for n in read), start_at=start_at)

    assert next(read) <= 250 + 101
    assert not Run.objects.exists()
    assert len(public.start_many("flow", [{}] * 250, start_at=start_at)) == 250


def test_payloads_that_fill_a_queue_beside_those_that_wait_are_not_read_on():
    make_flow()
    Queue.objects.update(size=250)
    public.start_many("flow", [{}] * 200)
    read = count()

    with pytest.raises(public.QueueFull):
        public.start_many("flow", ({"n": n} for n in read))

    assert next(read) <= 50 + 101
    assert Run.objects.count() == 200


@pytest.mark.django_db(transaction=True)
def test_a_run_is_started_from_asynchronous_code():
    make_flow()

    async def start() -> UUID:
        try:
            return await public.astart("flow", {"n": 1})
        finally:
            await sync_to_async(connections.close_all)()

    run = asyncio.run(start())

    assert payload_of(run) == {"n": 1}


@pytest.mark.django_db(transaction=True)
def test_an_event_loop_within_a_transaction_is_refused_before_it_waits_for_its_lock():
    make_flow()

    async def start() -> UUID:
        return await public.astart("flow", {})

    with transaction.atomic():
        Queue.objects.update(size=99)
        with pytest.raises(TransactionManagementError, match="async_to_sync"):
            asyncio.run(start())

    assert Queue.objects.filter(size=99).exists()
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_kept", [True, False])
def test_under_async_to_sync_a_run_is_stored_with_the_transaction_around_it(is_kept):
    make_flow()

    async def start() -> list[UUID]:
        return await asyncio.gather(*(public.astart("flow", {"n": n}) for n in range(3)))

    with transaction.atomic():
        Queue.objects.update(size=99)
        runs = async_to_sync(start)()
        transaction.set_rollback(not is_kept)

    assert Run.objects.filter(pk__in=runs).count() == (3 if is_kept else 0)


def test_the_result_of_a_run_that_has_none_says_why():
    flow = make_flow(codes=[REJECT])
    run = public.start("flow", {})

    with pytest.raises(public.RunNotFinished, match="QUEUED"):
        public.result(run)
    work_until_idle(flow)
    with pytest.raises(public.RunFailed, match="no") as failed:
        public.result(run)

    assert failed.value.status == "FAILED"
    assert "no" in failed.value.error


def test_waiting_within_a_transaction_is_refused():
    make_flow()
    run = public.start("flow", {})

    with pytest.raises(TransactionManagementError, match="outside of a transaction"):
        public.result(run, wait=1)


@pytest.mark.django_db(transaction=True)
def test_waiting_ends_with_the_time_that_was_given():
    make_flow()
    run = public.start("flow", {})

    with pytest.raises(public.RunNotFinished):
        public.result(run, wait=0.05)


def test_a_run_is_cancelled_by_its_id():
    make_flow()
    user = User.objects.create_user("operator")
    run = public.start("flow", {})

    status = public.cancel(run, user=user)

    assert status == public.status(run) == "CANCELLED"
    assert Run.objects.get().cancelled_by == user
    with pytest.raises(public.RunFailed, match="CANCELLED"):
        public.result(run)


def test_a_dead_letter_is_reprocessed_and_discarded_by_its_id():
    flow = make_flow(codes=[REJECT])
    for _ in range(2):
        public.start("flow", {"n": 1})
    work_until_idle(flow)
    first, second = DeadLetter.objects.order_by("pk")

    run = public.reprocess(first.pk, payload={"n": 2})
    public.discard(second.pk)

    assert run == first.run_id
    assert payload_of(run) == {"n": 2}
    for call in (public.reprocess, public.discard):
        with pytest.raises(public.AlreadyReprocessed):
            call(second.pk)


def test_a_flow_and_a_queue_are_paused_and_resumed_by_their_names():
    make_flow()

    public.pause(flow="flow")
    public.pause(queue="flow-0")

    assert (Flow.objects.get().paused, Queue.objects.get(name="flow-0").paused) == (True, True)
    public.resume(flow="flow")
    public.resume(queue="flow-0")
    assert (Flow.objects.get().paused, Queue.objects.get(name="flow-0").paused) == (False, False)


@pytest.mark.parametrize("names", [{}, {"flow": "a", "queue": "b"}])
def test_a_pause_names_one_thing(names):
    with pytest.raises(TypeError, match="either a flow or a queue"):
        public.pause(**names)


@pytest.mark.parametrize(
    "call",
    [
        lambda: public.status(uuid4()),
        lambda: public.status("no id"),
        lambda: public.status(None),
        lambda: public.result(uuid4(), wait=1),
        lambda: public.cancel("x"),
        lambda: public.reprocess(7),
        lambda: public.reprocess("seven"),
        lambda: public.discard(None),
        lambda: public.start("nowhere", {}),
        lambda: public.start("no\0where", {}),
        lambda: public.pause(flow="nowhere"),
        lambda: public.pause(queue="nowhere"),
        lambda: public.pause(queue="no\0where"),
        lambda: public.resume(flow="no\0where"),
    ],
)
def test_what_is_not_there_is_told_as_such(call):
    with pytest.raises(public.NotFound):
        call()


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"priority": 5.5}, "priority must be a whole number from 0 to 9, not 5.5"),
        ({"priority": True}, "priority must be a whole number from 0 to 9, not True"),
        ({"priority": 10}, "priority"),
        ({"priority": "5"}, "priority"),
        ({"start_at": "2030-01-01"}, "start_at must be a datetime"),
        ({"start_at": date(2030, 1, 1)}, "start_at must be a datetime"),
        ({"start_at": datetime(2030, 1, 1)}, "start_at must have a time zone"),
        ({"idempotency_key": ""}, "idempotency_key must have 1 to 255 characters, not 0"),
        ({"idempotency_key": "k" * 300}, "not 300"),
        ({"idempotency_key": "a\0b"}, "printable"),
        ({"idempotency_key": 7}, "idempotency_key must be a string, not 7"),
    ],
)
def test_an_option_that_cannot_be_is_a_value_error_that_names_it(options, told):
    make_flow()

    with pytest.raises(ValueError, match=told) as refusal:
        public.start("flow", {}, **options)

    assert isinstance(refusal.value, public.FlowError)
    assert not Run.objects.exists()


class Priority(IntEnum):
    URGENT = 9


@pytest.mark.parametrize(
    "call", [public.start, lambda *a, **k: public.start_many(a[0], [a[1]], **k)]
)
def test_a_priority_may_be_a_member_of_an_enumeration(call):
    make_flow()

    call("flow", {}, priority=Priority.URGENT)

    assert Message.objects.get().priority == 9


def test_a_start_is_taken_back_with_the_transaction_around_it():
    make_flow()

    with transaction.atomic():
        public.start("flow", {})
        transaction.set_rollback(True)

    assert not Run.objects.exists()


def test_a_start_waits_for_its_time():
    flow = make_flow(codes=[ECHO])

    run = public.start("flow", {}, start_at=timezone.now() + timedelta(hours=1))
    work_until_idle(flow)

    assert public.status(run) == "QUEUED"


@pytest.mark.parametrize("number", [2**64, 2**70 + 1, -(10**300), 9007199254740993, 12.5])
def test_a_result_has_the_numbers_that_were_stored(number):
    flow = make_flow(codes=[PAYLOAD])
    run = public.start("flow", {"n": number})
    work_until_idle(flow)

    result = public.result(run)

    assert result == {"n": number}
    assert type(result["n"]) is type(number)


@pytest.mark.parametrize("wait", [None, "5", True, Decimal("0.1"), timedelta(seconds=1), nan])
def test_a_wait_that_is_no_number_of_seconds_is_a_value_error(wait):
    make_flow(codes=[ECHO])
    run = public.start("flow", {})

    with pytest.raises(ValueError, match="wait must be a number of seconds"):
        public.result(run, wait=wait)


@pytest.mark.parametrize("name", [None, 5, b"flow", "a\0", "\ud800", ["flow"]])
@pytest.mark.parametrize(
    "call",
    [
        lambda name: public.start(name, {}),
        lambda name: public.start_many(name, [{}]),
        lambda name: public.resume(flow=name or 0),
    ],
)
def test_what_cannot_be_a_name_names_no_flow(call, name):
    make_flow(codes=[ECHO])

    with pytest.raises(public.UnknownFlow):
        call(name)


@pytest.mark.parametrize("number", [True, 1.0, 1.5, Decimal(1), 2**70, "1.0"])
def test_what_is_no_id_names_no_dead_letter(number):
    flow = make_flow(codes=[REJECT])
    public.start("flow", {})
    work_until_idle(flow)
    letter = DeadLetter.objects.get()
    DeadLetter.objects.filter(pk=letter.pk).update(id=1)

    for call in (public.reprocess, public.discard):
        with pytest.raises(public.NotFound):
            call(number)

    assert DeadLetter.objects.get().reprocessed_at is None


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "user", [lambda: 5, lambda: "x", lambda: Group.objects.create(name="g"), lambda: User(pk=1)]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda run, user: public.start("flow", {}, user=user),
        lambda run, user: public.start_many("flow", [{}], user=user),
        lambda run, user: public.cancel(run, user=user),
        lambda run, user: public.pause(flow="flow", user=user),
        lambda run, user: public.resume(queue="flow-0", user=user),
    ],
)
def test_a_user_is_a_stored_user(call, user):
    make_flow(codes=[ECHO])
    run = public.start("flow", {})

    with pytest.raises(ValueError, match="user must be a stored user"):
        call(run, user())

    assert Run.objects.get().status == "QUEUED"
