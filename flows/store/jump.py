"""Moves stored times when a clock that was set is followed."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F, Q

from flows.models import (
    AlertNotice,
    AlertsClock,
    AlertTargetState,
    Consumer,
    IdempotencyKey,
    LiveCluster,
    Message,
    QueueState,
    Reprocessing,
    WebhookDelivery,
)
from flows.store.rate_limit import shifted


def mend(was: datetime, now: datetime) -> None:
    """Move leases and rates; where the clock was ahead, also what would wait until it comes again.

    A start that a caller has put off keeps its time. Call it in a transaction.
    """
    jump = now - was
    # None of them was silent.
    Consumer.objects.update(heartbeat_at=now)
    for state in QueueState.objects.exclude(recent_starts=""):
        state.recent_starts = shifted(state.recent_starts, jump.total_seconds())
        state.save(update_fields=["recent_starts"])
    QueueState.objects.exclude(slow_until=None).update(slow_until=F("slow_until") + jump)
    for each in Reprocessing.objects.filter(finished_at=None).exclude(recent_starts=""):
        each.recent_starts = shifted(each.recent_starts, jump.total_seconds())
        each.save(update_fields=["recent_starts"])
    if jump < timedelta(0):
        is_put_off = Q(deliveries=0, available_at__gt=was)
        waiting = Message.objects.filter(available_at__gt=now).exclude(is_put_off)
        waiting.update(available_at=F("available_at") + jump)
        Reprocessing.objects.filter(due_at__gt=now).update(due_at=now)
        IdempotencyKey.objects.filter(created_at__gt=now).update(created_at=now)
        # Its sender knows one by this time: what is just being sent is sent once more.
        webhooks = WebhookDelivery.objects.filter(
            status=WebhookDelivery.Status.PENDING, next_attempt_at__gt=now
        )
        webhooks.update(next_attempt_at=F("next_attempt_at") + jump)
        # Those that have ended would count as alive until then.
        LiveCluster.objects.filter(seen_at__gt=now).update(seen_at=now)
        # No rule would be applied, and no target told.
        AlertsClock.objects.filter(evaluated_at__gt=now).update(evaluated_at=now)
        AlertNotice.objects.filter(told_at__gt=now).update(told_at=now)
        AlertTargetState.objects.filter(sent_at__gt=now).update(sent_at=now)
        AlertTargetState.objects.filter(taken_until__gt=now).update(
            taken_until=F("taken_until") + jump
        )
