from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from prometheus_client.exposition import choose_encoder
from rest_framework.request import Request

from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import GET_METRICS
from flows.api.view import ApiView, OneForm
from flows.tasks.metrics import registry

PERMISSION = "flows.view_metrics"


class MetricsForm(OneForm):
    """Prometheus's library chooses the format by the Accept header."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class MetricsView(ApiView):
    content_negotiation_class = MetricsForm

    @extend_schema(**GET_METRICS)
    def get(self, request: Request) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise Problem("no-role", f"This takes the permission {PERMISSION}.")
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(registry()), content_type=content_type)
