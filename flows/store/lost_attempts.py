"""The attempts of scripts whose worker has died or stopped: what was seen of them stays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from flows.models import RunningAttempt, StepRun
from flows.store.types import HeldMessage

DIED = "The worker died while the script ran; the last lines of its log may be missing."
STOPPED = "The worker was stopped before the script had ended."


def keep_lost_attempts(
    consumer_id: int, held: Sequence[HeldMessage], dropped: Collection[str], now: datetime, why: str
) -> None:
    """Store the attempts that others could see, with their logs, as attempts that have ended.

    Those of less than a second were never seen, and leave nothing. `dropped`: the messages whose
    runs were cancelled.
    """
    messages = {UUID(each.id): each for each in held}
    seen = RunningAttempt.objects.filter(consumer_id=consumer_id, pk__in=messages)
    StepRun.objects.bulk_create(
        _ended(messages[each.pk], each, dropped, now, why)
        for each in seen.order_by("started_at")
        if each.delivery == messages[each.pk].deliveries
    )


def _ended(
    message: HeldMessage, attempt: RunningAttempt, dropped: Collection[str], now: datetime, why: str
) -> StepRun:
    is_cancelled = message.id in dropped
    return StepRun(
        run_id=UUID(message.correlation_id),
        step_id=message.step_id,
        delivery=attempt.delivery,
        outcome=StepRun.Outcome.CANCELLED if is_cancelled else StepRun.Outcome.FAILED,
        started_at=attempt.started_at,
        finished_at=max(now, attempt.started_at),
        error=why,
        logs=attempt.logs,
        branch=message.branch,
    )
