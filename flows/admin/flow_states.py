"""The list of what scripts have left for later messages of their flow, by context.state."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.text import Truncator

from flows.access.rights import flows_with
from flows.admin.by_role import ByRole, configures, rights_of
from flows.admin.display import shown_time
from flows.models import FlowState, Right
from scripts.admin.base import ReadOnlyAdmin

LONGEST = 100


@admin.register(FlowState)
class FlowStateAdmin(ByRole, ReadOnlyAdmin):
    """Values are what scripts work with, so those see them who configure the flow."""

    opened_by = frozenset({Right.CONFIGURE.value})
    list_display = ("key", "flow", "beginning", "expires", "changed")
    list_filter = (("flow", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("flow",)
    search_fields = ("key", "flow__name")
    fields = ("flow", "key", "value", "expires", "changed")

    def seen(self, request: HttpRequest) -> Q | None:
        if configures(request, None) or request.user.is_superuser:
            return None
        return Q(flow__in=flows_with(rights_of(request), self.opened_by))

    def flow_of(self, obj: Any) -> int | None:
        return int(obj.flow_id)

    @admin.display(description="value", ordering="value")
    def beginning(self, state: FlowState) -> str:
        return Truncator(state.value).chars(LONGEST)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, state: FlowState) -> str:
        return shown_time(state.expires_at) if state.expires_at else "never"

    @admin.display(description="changed", ordering="changed_at")
    def changed(self, state: FlowState) -> str:
        return shown_time(state.changed_at)
