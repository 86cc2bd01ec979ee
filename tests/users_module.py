"""A module of a project that uses everything in flows.public. mypy --strict must accept it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from flows import public
from flows.public import (
    AlreadyReprocessed,
    CommitInDoubt,
    Context,
    FlowError,
    FlowNotRunnable,
    IdempotencyConflict,
    Message,
    NotFound,
    PayloadInvalid,
    PayloadNotChecked,
    QueueFull,
    Reject,
    Retry,
    RunFailed,
    RunNotFinished,
    UnknownFlow,
    dead_letter_made,
    run_finished,
)


def place(user: User) -> UUID:
    with transaction.atomic():
        run = public.start(
            "invoice",
            {"order": 7, "price": Decimal("1.50"), "lines": [{"amount": 2}]},
            user=user,
            idempotency_key="order-7",
            priority=9,
            start_at=datetime.now(UTC) + timedelta(hours=1),
        )
    assert_type(run, UUID)
    assert_type(public.start("invoice", b'{"order": 7}'), UUID)
    return run


def place_many(orders: list[dict[str, int]]) -> list[UUID]:
    def payloads() -> Iterator[Mapping[str, Any]]:
        yield from orders

    assert_type(public.start_many("invoice", orders), list[UUID])
    return public.start_many("invoice", payloads(), user=None, priority=1)


async def place_later(payload: Mapping[str, object]) -> None:
    assert_type(await public.astart("invoice", payload, idempotency_key="7", priority=3), UUID)


def look(run: UUID) -> Any:
    assert_type(public.status(run), str)
    assert_type(public.status(str(run)), str)
    assert_type(public.result(run), Any)
    return public.result(run, wait=10)


def operate(run: UUID, letter: int, user: User) -> None:
    assert_type(public.cancel(run, user=user), str)
    assert_type(public.reprocess(letter, payload={"order": 8}, newest_script=True), UUID)
    public.discard(letter, user=user)
    public.pause(flow="invoice", user=user)
    public.resume(queue="invoices")


def view(request: HttpRequest) -> HttpResponse:
    try:
        public.start("invoice", {"order": 7})
    except (QueueFull, PayloadNotChecked) as full:
        assert_type(full.retry_after, int)
        return HttpResponse(status=429, headers={"Retry-After": str(full.retry_after)})
    except PayloadInvalid as invalid:
        assert_type(invalid.errors, list[dict[str, str]])
        return HttpResponse(str(invalid), status=400)
    except (UnknownFlow, FlowNotRunnable, IdempotencyConflict):
        return HttpResponse(status=409)
    except CommitInDoubt:
        return HttpResponse(status=504)
    return HttpResponse(status=202)


def why(run: UUID) -> str:
    try:
        look(run)
    except RunFailed as failed:
        assert_type(failed.status, str)
        return failed.error
    except (RunNotFinished, NotFound, AlreadyReprocessed) as error:
        return str(error)
    except FlowError:
        raise
    return ""


@receiver(run_finished)
def note_end(
    sender: None, correlation_id: UUID, flow_name: str, status: str, **kwargs: object
) -> None:
    print(flow_name, correlation_id, status)


def note_letter(sender: None, dead_letter_id: int, reason: str, **kwargs: object) -> None:
    print(dead_letter_id, reason)


dead_letter_made.connect(note_letter)


def score(message: Message, context: Context) -> Message:
    assert_type(context.attempt, int)
    assert_type(context.correlation_id, str)
    context.log(f"attempt {context.attempt} of {context.step}", level="debug")
    if message["payload"]["amount"] <= 0:
        raise Reject("the amount must be positive")
    answer = context.http.get("https://rates.example.org/EUR", timeout=5)
    assert_type(answer.status, int)
    assert_type(answer.text, str)
    if not answer.ok:
        raise Retry(after=timedelta(minutes=1), reason="the desk is closed")
    if "shop.key" not in context.secrets:
        raise Retry(60)
    assert_type(context.secrets["shop.key"], str)
    message["payload"]["rate"] = answer.raise_for_status().json()["rate"]
    return message
