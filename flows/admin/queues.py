"""Queues with their figures, and the reason why one waits."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import rights_of, sees_every_flow
from flows.admin.display import level, link, list_of, page_of
from flows.admin.pausing import PausingAdmin
from flows.models import DeadLetter, Queue
from flows.monitoring.impact import letters_of_queue, queue_stays
from flows.monitoring.wait_reason import why_queue
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.durations import format_duration

SHOWN = ("name", "filled", "feeds", "pause_state", "waits_because", "open_dead_letters")


@admin.register(Queue)
class QueueAdmin(DeletionAdmin, PausingAdmin):
    list_display = ("name", "filled", "feeds", "rate_limit", "open_dead_letters", "state_label")
    list_filter = ("paused",)
    list_select_related = ("state", "step__flow", "paused_by")
    search_fields = ("name", "step__name", "step__flow__name")
    fieldsets = (
        (None, {"fields": SHOWN}),
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
    )
    readonly_fields = SHOWN[1:]
    actions = ("pause_selected", "resume_selected")
    actions_detail = ("pause", "resume")

    opened_by = SEES_EVERY_RUN

    def seen(self, request: HttpRequest) -> Q | None:
        if sees_every_flow(request):
            return None
        return Q(step__flow__in=flows_with(rights_of(request), SEES_EVERY_RUN))

    def deletion_of(self, request: HttpRequest, obj: Queue) -> Deletion:
        letters = letters_of_queue(obj)
        fact = (
            f"Dead letters of it that are open: {letters}. They cannot be reprocessed without it."
        )
        return Deletion([fact] if letters != "0" else [], queue_stays(obj))

    def flow_of(self, obj: Queue) -> int | None:
        step = obj.fed_step
        return step.flow_id if step else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Queue]:
        dead = DeadLetter.objects.all().open_in("step__queue")
        return super().get_queryset(request).annotate(dead=dead)

    def get_fieldsets(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return ((None, {"fields": ("name",)}), *fieldsets[1:])
        return fieldsets

    @display(description="messages", ordering="state__depth")
    def filled(self, queue: Queue) -> str:
        return level(queue.depth, queue.size)

    @display(description="takes messages for", ordering="step__flow__name", empty_value="no step")
    def feeds(self, queue: Queue) -> str | None:
        return step_fed_by(queue)

    @display(description="why messages wait", empty_value="-")
    def waits_because(self, queue: Queue) -> str | None:
        return why_queue(queue)

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


def step_fed_by(queue: Queue) -> SafeString | None:
    step = queue.fed_step
    if step is None:
        return None
    return format_html("{} of {}", step.name, link(page_of(step.flow), step.flow.name))
