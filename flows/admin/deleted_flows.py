"""The pages that list deleted flows and restore one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import action

from flows.admin.by_role import has_right_everywhere
from flows.admin.display import list_of, page_of
from flows.configuration.restoring import (
    CannotRestore,
    deleted_flows,
    plan_restoration,
    restore,
)
from flows.models import Flow, Right

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object


SIGNED_ANEW = (
    "The secret of its webhooks was deleted with the flow. They are signed with a new one: give"
    " that to their receivers."
)


class DeletedFlowsAdmin(Base):
    """Adds the deleted flows to the admin of flows. `actions_list` names the action."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("deleted/", view(self.deleted_view), name="flows_flow_deleted"),
            path("deleted/<int:pk>/", view(self.restore_view), name="flows_flow_restore"),
            *super().get_urls(),
        ]

    def has_restore_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        # Deleted flows are seen by those who see every flow.
        sees_all = has_right_everywhere(request, set(Right.values))
        return sees_all and self.has_add_permission(request)

    @action(description="Deleted flows", icon="restore_from_trash", permissions=["restore"])
    def deleted_flows(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:flows_flow_deleted")

    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        self._require_restore(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Deleted flows",
            "opts": self.opts,
            "records": deleted_flows(),
            "back_url": list_of(Flow),
        }
        return TemplateResponse(request, "admin/flows/flow/deleted.html", context)

    def restore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        self._require_restore(request)
        records = Flow.history.filter(history_type="-").select_related("history_user")
        record = get_object_or_404(records, pk=pk)
        if request.method == "POST":
            try:
                flow = restore(record, request.user)
            except CannotRestore as refusal:
                self.message_user(request, f"Not restored. {refusal}", messages.ERROR)
            else:
                self.message_user(request, f"The flow {flow.name} is restored.", messages.SUCCESS)
                if flow.webhook_url:
                    self.message_user(request, SIGNED_ANEW, messages.WARNING)
                return redirect(page_of(flow))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Restore {record.name}?",
            "opts": self.opts,
            "plan": plan_restoration(record, request.user),
            "back_url": reverse("admin:flows_flow_deleted"),
        }
        return TemplateResponse(request, "admin/flows/flow/restore.html", context)

    def _require_restore(self, request: HttpRequest) -> None:
        if not self.has_restore_permission(request):
            raise PermissionDenied
