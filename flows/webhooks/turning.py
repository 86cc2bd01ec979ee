"""The webhook of a flow is turned off by its receiver, and on again by an operator."""

from __future__ import annotations

from typing import Any

from flows.access import audit
from flows.models import Flow, FlowWebhook, WebhookDelivery
from flows.store import store
from flows.store.telling import flow_webhooks


def turn_off(delivery: WebhookDelivery) -> None:
    """Send nothing more to the webhook of the flow, as its receiver asks."""
    now = store().database.now()
    FlowWebhook.objects.filter(pk=delivery.flow).update(gone_url=delivery.url, gone_at=now)
    flow_webhooks.forget()


def turn_on(flow: Flow, user: Any) -> None:
    """Tell the webhook again of the runs that end from now on."""
    with store().database.transaction():
        FlowWebhook.objects.filter(pk=flow.pk).update(gone_url="", gone_at=None)
        audit.record("turn the webhook on", flow, user=user)
    flow_webhooks.forget()
