"""Alerts: what fires and since when, what has ended lately, and which targets were told."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from flows.access.rights import SEES_EVERY_RUN
from flows.admin.by_role import ByRole, watched_flow_ids
from flows.admin.display import link, page_of, shown_time
from flows.models import Alert, AlertTarget, Flow, Queue
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.site import register


@register(Alert)
class AlertAdmin(ByRole, ReadOnlyAdmin):
    """A user sees the alerts of the flows that it watches; those of the installation with all."""

    opened_by = SEES_EVERY_RUN
    list_display = ("sentence", "level_label", "rule", "began", "ended")
    list_filter = (("level", ChoicesDropdownFilter), ("ended_at", admin.EmptyFieldListFilter))
    search_fields = ("sentence", "flow", "queue", "rule")
    fields = (
        *("sentence", "level_label", "advice", "rule", "flow_page", "queue_page", "subject"),
        *("began", "last_found", "ended", "told"),
    )
    readonly_fields = fields

    @property
    def has_targets(self) -> bool:
        """Whether alarms are followed: an empty list says nothing where they are not."""
        return AlertTarget.objects.filter(active=True).exists()

    def seen(self, request: HttpRequest) -> Q | None:
        watched = watched_flow_ids(request)
        if watched is None:
            return None
        return Q(flow__in=Flow.objects.filter(pk__in=watched).values("name"))

    @display(description="level", label={"Critical": "danger", "Warning": "warning"})
    def level_label(self, alert: Alert) -> str:
        return str(alert.get_level_display())

    @admin.display(description="since", ordering="since")
    def began(self, alert: Alert) -> str:
        return shown_time(alert.since)

    @admin.display(description="last found")
    def last_found(self, alert: Alert) -> str:
        return shown_time(alert.seen_at)

    @admin.display(description="ended", ordering="ended_at")
    def ended(self, alert: Alert) -> str:
        return shown_time(alert.ended_at) if alert.ended_at else "still fires"

    @admin.display(description="flow")
    def flow_page(self, alert: Alert) -> str:
        return _linked(Flow, alert.flow)

    @admin.display(description="queue")
    def queue_page(self, alert: Alert) -> str:
        return _linked(Queue, alert.queue)

    @admin.display(description="told")
    def told(self, alert: Alert) -> str:
        names = alert.notices.order_by("target__name").values_list("target__name", flat=True)
        return ", ".join(names) or "no target"


def _linked(model: type[Flow] | type[Queue], name: str) -> str:
    """Return the name as a link to the page of what has it now, if there is one."""
    found = model._default_manager.filter(name=name).first()
    return link(page_of(found), name) if found else name or "-"
