"""Deliveries of webhooks: the list, the page of one, and sending it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.enums import ActionVariant

from flows.access.rights import seen_runs
from flows.admin.by_role import ByRole, rights_of
from flows.admin.display import first_line, link, page_of, shown_time
from flows.admin.filters import FlowFilter
from flows.admin.letter_list import BoundedPaginator
from flows.admin.long_texts import LongTexts
from flows.models import Run, WebhookDelivery
from flows.webhooks.replaying import replay
from flows.webhooks.shown import shown_url
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.bulk import bulk_action
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.site import register

Status = WebhookDelivery.Status
STATUS_LABELS = {
    Status.PENDING.value: "primary",
    Status.DELIVERED.value: "success",
    Status.FAILED.value: "danger",
}
AGAIN = "Each is sent within seconds, with the same webhook-id and body, and tried for another day."


class DeliveryFlowFilter(FlowFilter):
    lookup = "run__flow_version__in"


def to_send_again(
    model_admin: Any, request: HttpRequest, deliveries: list[WebhookDelivery]
) -> tuple[list[WebhookDelivery], list[str]]:
    """Return those whose flow the user operates, and a note about the others."""
    allowed = model_admin.permitted(request, "operate", deliveries)
    left_out = len(deliveries) - len(allowed)
    told = f"Left out, because none of your roles operates their flows: {left_out}."
    return allowed, [told] if left_out else []


@register(WebhookDelivery)
class WebhookDeliveryAdmin(DetailActions, ByRole, LongTexts, ReadOnlyAdmin):
    """For many rows: it counts no more than a few hundred pages need, in the order of the key."""

    paginator = BoundedPaginator
    unlisted_texts = WebhookDelivery.PAYLOADS
    show_full_result_count = False
    list_display = (
        "ended",
        "flow_name",
        "event",
        "receiver",
        "status_label",
        "attempts",
        "short_error",
    )
    list_filter = (
        DeliveryFlowFilter,
        ("status", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
    )
    ordering = ("-id",)
    sortable_by = ("ended",)
    fields = (
        "run_link",
        "flow_name",
        "event",
        "kind",
        "receiver",
        "status_label",
        "attempts",
        "last_attempt",
        "next_attempt",
        "answer_status",
        "told",
        "answer",
        "id",
    )
    readonly_fields = fields
    actions: Any = ("send_selected_again",)
    actions_detail = ("send_again",)

    def seen(self, request: HttpRequest) -> Q | None:
        seen = seen_runs(request.user, rights_of(request))
        return None if seen is None else Q(run__in=Run.objects.filter(seen))

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        return super().get_queryset(request).select_related("run__flow_version")

    def flow_of(self, obj: WebhookDelivery) -> int | None:
        return obj.run.flow_version.flow_id

    def offered(self, obj: WebhookDelivery) -> tuple[str, ...]:
        return ("send_again",)

    @asking(
        dialog(
            "Send the webhook {obj} again?",
            AGAIN,
            "Send again",
            asks_reason=True,
        ),
        description="Send again",
        icon="replay",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def send_again(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        delivery = get_object_or_404(self.get_queryset(request), pk=object_id)
        replay(delivery, user=request.user, reason=form.cleaned_data.get("reason", ""))
        self.message_user(request, "It is sent again.", messages.SUCCESS)
        return leave_dialog(page_of(delivery))

    @bulk_action("Send again", AGAIN, to_send_again, permissions=["operate"], asks_reason=True)
    def send_selected_again(
        self, request: HttpRequest, deliveries: list[WebhookDelivery], reason: str
    ) -> None:
        for delivery in deliveries:
            replay(delivery, user=request.user, reason=reason)
        self.message_user(request, f"Sent again: {len(deliveries)}.", messages.SUCCESS)

    @admin.display(description="end of the run", ordering="-id")
    def ended(self, delivery: WebhookDelivery) -> str:
        return shown_time(delivery.at)

    @admin.display(description="flow")
    def flow_name(self, delivery: WebhookDelivery) -> str:
        return delivery.run.flow_version.flow_name

    @admin.display(description="run")
    def run_link(self, delivery: WebhookDelivery) -> str:
        return link(page_of(delivery.run), delivery.run_id)

    @admin.display(description="type")
    def event(self, delivery: WebhookDelivery) -> str:
        return f"run.{delivery.run_status.lower()}"

    @admin.display(description="receiver")
    def receiver(self, delivery: WebhookDelivery) -> str:
        return shown_url(delivery.url)

    @display(description="status", label=STATUS_LABELS)
    def status_label(self, delivery: WebhookDelivery) -> str:
        return delivery.status

    @admin.display(description="last attempt")
    def last_attempt(self, delivery: WebhookDelivery) -> str:
        return shown_time(delivery.attempted_at)

    @admin.display(description="next attempt")
    def next_attempt(self, delivery: WebhookDelivery) -> str:
        return shown_time(delivery.next_attempt_at, "next")

    @admin.display(description="last error")
    def told(self, delivery: WebhookDelivery) -> str:
        return delivery.error or "-"

    @admin.display(description="last error")
    def short_error(self, delivery: WebhookDelivery) -> str:
        return first_line(delivery.error) or "-"


def deliveries_of(run: Run) -> list[dict[str, Any]]:
    """Return the deliveries of a run as its page shows them, the newest first."""
    return [
        {
            "delivery": each,
            "url": page_of(each),
            "receiver": shown_url(each.url),
            "event": f"run.{each.run_status.lower()}",
            "label": STATUS_LABELS[each.status],
        }
        for each in WebhookDelivery.objects.filter(run=run.pk).defer(*WebhookDelivery.PAYLOADS)[:20]
    ]
