"""What the tests of webhooks share: a receiver on this machine, and sending at once."""

from __future__ import annotations

from typing import Any

from flows.models import Flow, WebhookDelivery
from flows.store.telling import flow_webhooks
from flows.webhooks.sender import Sender


class AtOnce:
    """Takes the place of the threads of a sender: it sends in the test's own transaction."""

    def submit(self, send: Any, *arguments: Any) -> None:
        send(*arguments)


def send_due() -> int:
    """Send what is due, each once; return how many."""
    sender = Sender()
    sender._pool = AtOnce()  # type: ignore[assignment]
    count = 0
    while sender.send_next():
        count += 1
    return count


def make_due() -> None:
    """Let the waits of all deliveries be over."""
    WebhookDelivery.objects.filter(next_attempt_at__isnull=False).update(
        next_attempt_at="2026-01-01T00:00Z"
    )


def set_webhook(flow: Flow, url: str, *, private: bool = True) -> None:
    flow.webhook_url, flow.private_webhooks = url, private
    flow.save()
    flow_webhooks.forget()
