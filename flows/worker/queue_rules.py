"""The rules of a queue about redeliveries, applied to what came of its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from flows.disposition import Disposition
from flows.models import DeadLetter, Queue, StepRun
from flows.store import DeliveryResult, HeldMessage
from flows.store.lost_attempts import DIED, STOPPED
from flows.worker.redelivery import (
    WORKER_DIED,
    RedeliveryRules,
    out_of_deliveries,
    redeliver,
)
from flows.worker.results import ages, ended_now, waited

REDELIVERED = (Disposition.RETRY, Disposition.WAITING)
FAILED = (StepRun.Outcome.FAILED, StepRun.Outcome.RETRY)


def with_redeliveries(results: Sequence[DeliveryResult], queue_id: int) -> list[DeliveryResult]:
    """Return them with how long those wait that failed, or as dead letters after the last."""
    again = [each for each in results if each.decision.disposition in REDELIVERED]
    if not again:
        return list(results)
    rules = rules_of(queue_id)
    held = [each.held for each in again]
    since = ages(held) if rules.max_age else [timedelta(0)] * len(held)
    decided = {
        id(each): redeliver(each.decision, each.held.deliveries, rules, age, waited(each.held))
        for each, age in zip(again, since, strict=True)
    }
    return [
        replace(each, decision=decided[id(each)]) if id(each) in decided else each
        for each in results
    ]


def rules_of(queue_id: int) -> RedeliveryRules:
    queue = Queue.objects.select_related("step__flow").get(pk=queue_id)
    step = queue.fed_step
    max_age = step.flow.max_age if step else None
    return RedeliveryRules(queue.max_deliveries, queue.backoff.delay, max_age, queue.max_wait)


def is_exhausted(held: HeldMessage, queue_id: int) -> bool:
    """Tell whether a message was taken once more than its queue delivers it."""
    return held.deliveries > Queue.objects.get(pk=queue_id).max_deliveries


def exhausted(held: HeldMessage) -> DeliveryResult:
    """Return a dead letter of a message that was taken once more than its queue delivers it.

    Its last delivery ended with the death of its worker; or it failed, and its queue was given
    fewer deliveries since.
    """
    held.deliveries -= 1
    last = _last_attempt(held)
    if last is None or last["error"] == STOPPED:
        return ended_now(held, WORKER_DIED)
    decision = WORKER_DIED if last["error"] == DIED else out_of_deliveries(last["error"])
    return replace(ended_now(held, decision), has_attempt=True)


def _last_attempt(held: HeldMessage) -> Mapping[str, Any] | None:
    """Return the attempt of the last delivery, if it has failed and is stored.

    After a reprocessing the deliveries are counted anew: an attempt before it is another one.
    """
    place = {"run": UUID(held.correlation_id), "step": held.step_id, "branch": held.branch}
    attempts = StepRun.objects.filter(**place).order_by("-id")
    last = attempts.values("delivery", "outcome", "error", "finished_at").first()
    if not last or last["delivery"] != held.deliveries or last["outcome"] not in FAILED:
        return None
    is_earlier = DeadLetter.objects.filter(**place, dead_at__gt=last["finished_at"]).exists()
    return None if is_earlier else last
