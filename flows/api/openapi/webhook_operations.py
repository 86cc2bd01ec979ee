"""The operations on webhooks in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes

from flows.api.openapi.describe import answered, in_path, names_its_run, operation
from flows.api.openapi.examples import WEBHOOK_DELIVERY
from flows.api.openapi.operations import PAGE, WITH_REASON
from flows.api.openapi.run_operations import RUN_ID
from flows.api.openapi.schemas import ref

DELIVERY_ID = in_path("id", "The id of the delivery, which is its `webhook-id`.", OpenApiTypes.UUID)

LIST_WEBHOOK_DELIVERIES = operation(
    "GET",
    "listWebhookDeliveries",
    "webhooks",
    "List the webhooks of a run, the newest first",
    "Returns what the receivers of the run's end were told or will be: one delivery for each end"
    " and receiver. A run that was reprocessed after a failure ends again, and is told again. The"
    " caller needs the right to see the run.",
    parameters=[RUN_ID, *PAGE, names_its_run(200)],
    answer=answered(
        "A page of deliveries.",
        ref("WebhookDeliveryPage"),
        {"results": [WEBHOOK_DELIVERY], "next": None, "nextCursor": None},
    ),
    problems=("not-found",),
)

REPLAY_WEBHOOK_DELIVERY = operation(
    "POST",
    "replayWebhookDelivery",
    "webhooks",
    "Send a webhook again",
    "It is sent within seconds, with the same `webhook-id` and body, and tried for another day"
    " where that fails. The caller needs the right to operate the flow.",
    parameters=[DELIVERY_ID, names_its_run(202)],
    body=WITH_REASON,
    answer=answered(
        "It will be sent.",
        ref("WebhookDelivery"),
        WEBHOOK_DELIVERY | {"status": "pending", "attempts": 0},
        status=202,
    ),
    problems=("not-found",),
)
