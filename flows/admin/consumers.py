from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from flows.admin.display import moment
from flows.models import Consumer
from scripts.admin.base import ReadOnlyAdmin


@admin.register(Consumer)
class ConsumerAdmin(ReadOnlyAdmin):
    list_display = ("id", "queue", "threads", "cluster", "host", "pid", "since", "heartbeat")
    list_filter = (("queue", RelatedDropdownFilter), "cluster", "host")
    list_select_related = ("queue",)
    search_fields = ("host", "queue__name")
    fields = list_display

    @admin.display(description="since", ordering="created_at")
    def since(self, consumer: Consumer) -> str:
        return moment(consumer.created_at)

    @admin.display(description="heartbeat", ordering="heartbeat_at")
    def heartbeat(self, consumer: Consumer) -> str:
        return moment(consumer.heartbeat_at)
