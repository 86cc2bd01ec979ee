"""One attempt at a delivery: what is sent, and what becomes of the delivery."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from django.utils import timezone

from flows.errors import PayloadUnreadable
from flows.models import Flow, Run, WebhookDelivery
from flows.models.webhook import LONGEST_ERROR
from flows.monitoring.own_address import own_address
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import Beside
from flows.store import store
from flows.webhooks.retries import retry_after, wait_after
from flows.webhooks.secrets import signing_keys, webhook_of
from flows.webhooks.signature import signed_headers
from flows.webhooks.turning import turn_off
from scripts.models.encryption import NotDecryptable
from scripts.traces import are_on, outside_call

if TYPE_CHECKING:
    from flows.webhooks.exchange import Answer

Kind, Status = WebhookDelivery.Kind, WebhookDelivery.Status
GONE = 410
BUSY = (429, 503)
PORTS = {"http": 80, "https": 443}
HEADERS = {"Content-Type": "application/json", "User-Agent": "AsyncEngine-Webhooks"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt has come to. `is_last`: there is no sense in another one."""

    error: str = ""
    answer: Answer | None = None
    is_last: bool = False
    wait: timedelta | None = None


class CannotSend(Exception):
    """The delivery can never be sent; the message says why."""


def attempt(delivery: WebhookDelivery, taken_until: datetime) -> None:
    """Send a delivery that was taken until then, and store what becomes of it."""
    try:
        outcome = _sent(delivery)
    except CannotSend as error:
        outcome = Outcome(str(error), is_last=True)
    except NotDecryptable as error:
        outcome = Outcome(f"The secret of the flow cannot be decrypted: {error}")
    except PayloadUnreadable as error:
        outcome = Outcome(str(error))
    _record(delivery, outcome, taken_until)


# --- sending -----------------------------------------------------------------------------------


def _sent(delivery: WebhookDelivery) -> Outcome:
    # The HTTP client takes memory that a worker that sends nothing can do without.
    from flows.webhooks.exchange import NoAnswer, post

    flow = Flow.objects.filter(pk=delivery.flow or 0).first()
    if flow is None:
        raise CannotSend("The flow was deleted, and its secret with it.")
    _follow_webhook(delivery, flow)
    body = _body(delivery)
    headers = signed_headers(str(delivery.pk), int(time.time()), body, signing_keys(flow))
    url = urlsplit(delivery.url)
    port = url.port or PORTS.get(url.scheme, 0)
    try:
        with (
            _in_trace_of(delivery),
            outside_call("POST", url.scheme, url.hostname or "", port) as call,
        ):
            headers = {**HEADERS, **headers, **call.headers}
            answer = post(delivery.url, headers, body, private=flow.private_webhooks)
            call.note_status(answer.status)
    except NoAnswer as error:
        return Outcome(str(error))
    return _outcome_of(answer)


def _in_trace_of(delivery: WebhookDelivery) -> AbstractContextManager[object]:
    """Return a block in which the start of its run is the current span, where traces are on."""
    if not are_on():
        return nullcontext()
    from flows.traces.contexts import starts_of
    from scripts.traces.context import within

    [start] = starts_of([delivery.run_id]).values()
    return within(start)


def _follow_webhook(delivery: WebhookDelivery, flow: Flow) -> None:
    """Send to where the webhook of the flow is now. Raises CannotSend where it has none."""
    if delivery.kind != Kind.FLOW:
        return
    if not flow.webhook_url:
        raise CannotSend("The flow has no webhook any more.")
    if webhook_of(flow).gone_url == flow.webhook_url:
        raise CannotSend("The webhook of the flow is off: its receiver has answered 410.")
    delivery.url = flow.webhook_url


def _outcome_of(answer: Answer) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome(answer=answer)
    if answer.status == GONE:
        return Outcome("It answered 410: it wants no more of them.", answer, is_last=True)
    if 300 <= answer.status < 400:
        return Outcome(f"It answered {answer.status}: redirects are not followed.", answer)
    wait = retry_after(answer.retry_after, timezone.now()) if answer.status in BUSY else None
    return Outcome(f"It answered {answer.status}.", answer, wait=wait)


def _body(delivery: WebhookDelivery) -> bytes:
    """Return the body, which stays the same over all attempts. It has nothing of what travels
    through the run: the receiver asks for that, with its own rights.
    """
    if not delivery.body:
        runs = Run.objects.defer("result", "cancelled_input", "error")
        run = runs.select_related("flow_version").get(pk=delivery.run_id)
        delivery.body = orjson.dumps(_document(delivery, run)).decode()
    return delivery.body.encode()


def _document(delivery: WebhookDelivery, run: Run) -> dict[str, Any]:
    beside = Beside([run])
    is_as_told = run.status == delivery.run_status
    return {
        "type": f"run.{delivery.run_status.lower()}",
        "timestamp": rfc3339(delivery.at),
        "data": {
            "correlationId": str(run.pk),
            "flowName": run.flow_version.flow_name,
            "status": delivery.run_status,
            "createdAt": rfc3339(run.created_at),
            "finishedAt": rfc3339(delivery.at),
            "errorCode": beside.error_code(run) if is_as_told else None,
            "causeCode": beside.cause_code(run) if is_as_told else None,
            "labels": beside.labels(run.pk),
            "statusUrl": own_address("api:run", run.pk),
        },
    }


# --- what becomes of it ------------------------------------------------------------------------


def _record(delivery: WebhookDelivery, outcome: Outcome, taken_until: datetime) -> None:
    now = store().database.now()
    status, next_at = Status.DELIVERED, None
    if outcome.error:
        wait = None if outcome.is_last else wait_after(delivery.attempts, outcome.wait)
        status = Status.PENDING if wait else Status.FAILED
        next_at = now + wait if wait else None
    read = {} if "body" in delivery.get_deferred_fields() else {"body": delivery.body}
    with store().database.transaction():
        # Another sender may have taken it meanwhile, and an operator may have sent it again.
        mine = WebhookDelivery.objects.filter(pk=delivery.pk, next_attempt_at=taken_until)
        mine.update(
            status=status,
            next_attempt_at=next_at,
            attempted_at=now,
            url=delivery.url,
            error=outcome.error[:LONGEST_ERROR],
            answer_status=outcome.answer and outcome.answer.status,
            answer=outcome.answer.text if outcome.answer else "",
            **read,
        )
        if outcome.answer and outcome.answer.status == GONE and delivery.kind == Kind.FLOW:
            turn_off(delivery)
