"""Ends of runs that webhooks tell: stored in the transaction that ends the run, sent afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import inf
from typing import NamedTuple
from uuid import UUID

from django.db.models import F
from uuid_utils.compat import uuid7

from flows.models import Flow, FlowVersion, RunCallback, WebhookDelivery
from flows.models.flow import id_of_flow
from flows.models.run_marks import has_callback

# A change of the webhooks of flows reaches running workers after this time.
KEPT_SECONDS = 1.0


class End(NamedTuple):
    """The end of a run. The flow is None where it was deleted and nothing tells its id.

    The id is as a database writes it: most ends are told to no webhook, and so it is read then.
    """

    run_id: str
    flow_id: int | None
    status: str


class FlowWebhooks:
    """The addresses of the flows that have a webhook, kept in memory for a moment.

    Hardly any flow has one, so ends of runs need not ask for it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._urls: Mapping[int, str] = {}
        self._read_at = -inf

    def urls(self) -> Mapping[int, str]:
        """Return the addresses by flow, but for those whose receiver has gone."""
        clock = time.monotonic()
        if clock - self._read_at >= KEPT_SECONDS:
            flows = Flow.objects.exclude(webhook_url="").exclude(
                webhook_state__gone_url=F("webhook_url")
            )
            self._urls, self._read_at = dict(flows.values_list("pk", "webhook_url")), clock
        return self._urls


flow_webhooks = FlowWebhooks()


def tell_ends(ends: Sequence[End], at: datetime) -> None:
    """Store what is to be told of these ends, if anything is."""
    if not ends:
        return
    urls = flow_webhooks.urls()
    wanted = [end for end in ends if end.flow_id in urls or has_callback(end.run_id)]
    if wanted:
        WebhookDelivery.objects.bulk_create(_deliveries(wanted, urls, at))


def _deliveries(
    ends: Sequence[End], urls: Mapping[int, str], at: datetime
) -> Iterator[WebhookDelivery]:
    marked = [UUID(end.run_id) for end in ends if has_callback(end.run_id)]
    callbacks = dict(RunCallback.objects.filter(pk__in=marked).values_list("pk", "url"))
    for end in ends:
        if url := callbacks.get(UUID(end.run_id)):
            yield _delivery(end, WebhookDelivery.Kind.CALLBACK, url, at)
        if url := urls.get(end.flow_id or 0):
            yield _delivery(end, WebhookDelivery.Kind.FLOW, url, at)


def _delivery(end: End, kind: str, url: str, at: datetime) -> WebhookDelivery:
    return WebhookDelivery(
        id=uuid7(),
        run_id=UUID(end.run_id),
        flow=end.flow_id,
        kind=kind,
        url=url,
        run_status=end.status,
        at=at,
        next_attempt_at=at,
    )


@lru_cache(maxsize=4096)
def flow_id_of(flow_version_id: int) -> int | None:
    """Return the flow of a version; its id stays the same, also over a deletion."""
    return id_of_flow(FlowVersion.objects.get(pk=flow_version_id))
