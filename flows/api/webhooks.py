"""What the receivers of webhooks were told of a run, and sending it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from flows.access.rights import may, runs_seen
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.webhook_operations import LIST_WEBHOOK_DELIVERIES, REPLAY_WEBHOOK_DELIVERY
from flows.api.pages import PAGE_PARAMETERS, page_of_rows
from flows.api.reason import reason_of
from flows.api.runs import find_run, parse_id
from flows.api.view import ApiView, is_about, json_response
from flows.models import Right, WebhookDelivery
from flows.monitoring.times import rfc3339
from flows.webhooks.replaying import replay
from flows.webhooks.shown import shown_url

NO_DELIVERY = "There is no delivery of this id."


class WebhookDeliveriesView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_WEBHOOK_DELIVERIES)
    def get(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id)
        deliveries = WebhookDelivery.objects.filter(run=run).defer(*WebhookDelivery.PAYLOADS)
        return json_response(page_of_rows(request, self.query, deliveries, _documents))


class ReplayView(ApiView):
    @extend_schema(**REPLAY_WEBHOOK_DELIVERY)
    def post(self, request: Request, id: str) -> HttpResponse:
        delivery = _find_to_operate(request, id)
        replay(delivery, user=request.user, reason=reason_of(request))
        return json_response(_documents([delivery])[0], status=202)


def _find_to_operate(request: Request, id: str) -> WebhookDelivery:
    """Return the delivery. Raises Problem where there is none that the caller may see, or where
    the caller may only see it."""
    found = WebhookDelivery.objects.filter(
        pk=parse_id(id, NO_DELIVERY), run__in=runs_seen(request.user)
    )
    delivery = found.select_related("run__flow_version").defer(*WebhookDelivery.PAYLOADS).first()
    if delivery is None:
        raise Problem("not-found", NO_DELIVERY)
    is_about(request, delivery.run_id)
    if not may(request.user, Right.OPERATE, delivery.run.flow_version.flow_id):
        raise Problem("no-role", "None of your roles may send this webhook again.")
    return delivery


def _documents(deliveries: Sequence[WebhookDelivery]) -> list[Any]:
    return [
        {
            "id": str(each.pk),
            "correlationId": str(each.run_id),
            "kind": each.kind,
            "type": f"run.{each.run_status.lower()}",
            "url": shown_url(each.url),
            "status": each.status,
            "attempts": each.attempts,
            "createdAt": rfc3339(each.at),
            "lastAttemptAt": each.attempted_at and rfc3339(each.attempted_at),
            "nextAttemptAt": each.next_attempt_at and rfc3339(each.next_attempt_at),
            "answerStatus": each.answer_status,
            "error": each.error or None,
        }
        for each in deliveries
    ]
