"""The page of a flow's webhooks: the secret that signs them, and a receiver that has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.safestring import SafeString

from flows.admin.display import link, list_of, page_of
from flows.models import Flow, FlowWebhook, WebhookDelivery
from flows.webhooks.secrets import is_replaced, replace_secret, show_secret
from flows.webhooks.turning import turn_on
from scripts.models.encryption import NotDecryptable

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object


class WebhookSecretAdmin(Base):
    """Adds the page to the admin of flows, and a field that leads there."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.webhooks)
        return [path("<int:pk>/webhooks/", view, name="flows_flow_webhooks"), *super().get_urls()]

    @admin.display(description="webhook secret")
    def webhook_secret(self, flow: Flow) -> SafeString:
        return link(reverse("admin:flows_flow_webhooks", args=[flow.pk]), "Show or replace it")

    def webhooks(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the secret, replace it, or turn the webhook on again, as the button says."""
        flow = self.get_object(request, str(pk))
        if flow is None:
            raise Http404
        if not self.has_change_permission(request, flow):
            raise PermissionDenied
        secret = ""
        if request.method == "POST":
            secret = self._do(request, flow)
            if not secret:
                return redirect("admin:flows_flow_webhooks", flow.pk)
        row = FlowWebhook.objects.filter(pk=flow.pk).first()
        context = {
            **self.admin_site.each_context(request),
            "title": f"Webhooks of {flow.name}",
            "opts": self.opts,
            "original": flow,
            "flow": flow,
            "secret": secret,
            "row": row,
            "is_replaced": row is not None and is_replaced(row),
            "is_off": row is not None and bool(row.gone_url) and row.gone_url == flow.webhook_url,
            "deliveries_url": list_of(WebhookDelivery, flow=flow.name),
            "back_url": page_of(flow),
        }
        response = TemplateResponse(request, "admin/flows/flow/webhooks.html", context)
        add_never_cache_headers(response)
        return response

    def _do(self, request: HttpRequest, flow: Flow) -> str:
        """Do what is asked; return the secret where it is to be shown."""
        user = request.user
        if "show" in request.POST:
            try:
                return show_secret(flow, user)
            except NotDecryptable as error:
                self.message_user(request, str(error), messages.ERROR)
        elif "replace" in request.POST:
            replace_secret(flow, user)
            note = "The secret was replaced. The one before signs, too, for a day."
            self.message_user(request, note, messages.SUCCESS)
        elif "turn_on" in request.POST:
            turn_on(flow, user)
            self.message_user(request, "The webhook is on again.", messages.SUCCESS)
        return ""
