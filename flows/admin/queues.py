from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from flows.admin.display import level, link, list_of, page_of
from flows.models import DeadLetter, Queue
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.durations import format_duration


@admin.register(Queue)
class QueueAdmin(ConfigurationAdmin):
    list_display = ("name", "filled", "feeds", "rate_limit", "open_dead_letters", "state_label")
    list_filter = ("paused",)
    list_select_related = ("state", "step__flow")
    search_fields = ("name", "step__name", "step__flow__name")
    fieldsets = (
        (None, {"fields": ("name", "filled", "feeds", "open_dead_letters")}),
        ("Size and polling", {"fields": ("size", "polling")}),
        (
            "Redelivery",
            {
                "fields": (
                    "max_deliveries",
                    "backoff_initial",
                    "backoff_multiplier",
                    "backoff_max",
                    "backoff_jitter",
                ),
                "description": "A message that failed is delivered again after the back-off.",
            },
        ),
        (
            "Rate limit",
            {
                "fields": ("rate_count", "rate_period"),
                "description": "No more starts of the step than this in any period.",
            },
        ),
        ("Pause", {"fields": ("paused",)}),
    )
    readonly_fields = ("filled", "feeds", "open_dead_letters")
    actions = ("pause_selected", "resume_selected")
    actions_detail = ("pause", "resume")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Queue]:
        dead = (
            DeadLetter.objects.open()
            .filter(step__queue=OuterRef("pk"))
            .order_by()
            .values("step__queue")
            .annotate(count=Count("pk"))
            .values("count")
        )
        return super().get_queryset(request).annotate(dead=Coalesce(Subquery(dead), 0))

    def get_fieldsets(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return ((None, {"fields": ("name",)}), *fieldsets[1:])
        return fieldsets

    @display(description="messages", ordering="state__depth")
    def filled(self, queue: Queue) -> str:
        return level(queue.depth, queue.size)

    @display(description="feeds", ordering="step__flow__name", empty_value="no step")
    def feeds(self, queue: Queue) -> str | None:
        return step_fed_by(queue)

    @display(description="rate limit", empty_value="none")
    def rate_limit(self, queue: Queue) -> str | None:
        if queue.rate_count is None:
            return None
        return f"{queue.rate_count:,} in {format_duration(queue.rate_period)}"

    @display(description="dead letters", ordering="dead")
    def open_dead_letters(self, queue: Any) -> Any:
        if not queue.dead:
            return 0
        return link(list_of(DeadLetter, queue=queue.name, state="open"), f"{queue.dead:,}")

    @display(description="state", ordering="paused", label={"paused": "warning", "open": "success"})
    def state_label(self, queue: Queue) -> str:
        return "paused" if queue.paused else "open"

    @admin.action(description="Pause the selected queues", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queues: QuerySet[Queue]) -> None:
        self._set_paused(request, queues, True)

    @admin.action(description="Resume the selected queues", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queues: QuerySet[Queue]) -> None:
        self._set_paused(request, queues, False)

    @action(
        description="Pause",
        icon="pause",
        permissions=["change"],
        dialog={
            "title": "Pause this queue?",
            "description": "Messages wait in it until it is resumed; none is handed out.",
            "form_class": None,
            "form_submit_text": "Pause",
        },
    )
    def pause(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        return self._set_one_paused(request, object_id, True)

    @action(
        description="Resume",
        icon="play_arrow",
        permissions=["change"],
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": "Resume this queue?",
            "description": "Its messages are handed out again.",
            "form_class": None,
            "form_submit_text": "Resume",
        },
    )
    def resume(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        return self._set_one_paused(request, object_id, False)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer the one of pause and resume that changes something."""
        queue = self.get_object(request, str(object_id))
        if queue is None:
            return []
        idle = "flows_queue_pause" if queue.paused else "flows_queue_resume"
        offered = super().get_actions_detail(request, object_id)
        return [each for each in offered if each.action_name != idle]

    def _set_one_paused(self, request: HttpRequest, object_id: str, paused: bool) -> HttpResponse:
        queue = get_object_or_404(self.get_queryset(request), pk=object_id)
        self._set_paused(request, Queue.objects.filter(pk=queue.pk), paused)
        # The dialog was sent by htmx, which loads the whole page only when told so.
        return HttpResponse(headers={"HX-Redirect": page_of(queue)})

    def _set_paused(self, request: HttpRequest, queues: QuerySet[Queue], paused: bool) -> None:
        changed = [queue for queue in queues if queue.paused != paused]
        for queue in changed:
            queue.paused = paused
            queue.save(update_fields=["paused"])
        done = "Paused" if paused else "Resumed"
        if not changed:
            self.message_user(request, "Nothing to change.", messages.INFO)
            return
        names = ", ".join(queue.name for queue in changed)
        self.message_user(request, f"{done}: {names}.", messages.SUCCESS)


def step_fed_by(queue: Queue) -> SafeString | None:
    step = getattr(queue, "step", None)
    if step is None:
        return None
    return format_html("{} of {}", step.name, link(page_of(step.flow), step.flow.name))
