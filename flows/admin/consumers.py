"""The list of consumers: the leases of workers on queues."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import ByRole, rights_of, sees_every_flow
from flows.admin.display import shown_time
from flows.admin.filters import QueueOfRowFilter
from flows.models import Consumer
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.site import register


@register(Consumer)
class ConsumerAdmin(ByRole, ReadOnlyAdmin):
    opened_by = SEES_EVERY_RUN
    list_display = ("id", "queue", "threads", "cluster", "machine", "pid", "since", "heartbeat")
    list_filter = (("queue", QueueOfRowFilter), "cluster", "machine")
    list_select_related = ("queue",)
    search_fields = ("machine", "queue__name")
    fields = list_display

    def seen(self, request: HttpRequest) -> Q | None:
        if sees_every_flow(request):
            return None
        return Q(queue__step__flow__in=flows_with(rights_of(request), SEES_EVERY_RUN))

    @admin.display(description="since", ordering="created_at")
    def since(self, consumer: Consumer) -> str:
        return shown_time(consumer.created_at)

    @admin.display(description="heartbeat", ordering="heartbeat_at")
    def heartbeat(self, consumer: Consumer) -> str:
        return shown_time(consumer.heartbeat_at)
