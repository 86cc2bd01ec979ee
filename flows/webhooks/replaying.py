"""An operator has a delivery sent again."""

from __future__ import annotations

from typing import Any

from flows.access import audit
from flows.models import WebhookDelivery
from flows.store import store


def replay(delivery: WebhookDelivery, *, user: Any = None, reason: str = "") -> None:
    """Send it again within seconds, with the same id and body, and with all attempts anew."""
    with store().database.transaction():
        before = {"status": delivery.status}
        delivery.status = WebhookDelivery.Status.PENDING
        delivery.attempts = 0
        delivery.next_attempt_at = store().database.now()
        delivery.save(update_fields=["status", "attempts", "next_attempt_at"])
        after = {"status": delivery.status, "webhook": str(delivery.pk)}
        audit.record(
            "send again", delivery.run, before=before, after=after, user=user, reason=reason
        )
