"""Queues with their figures, and the reason why one waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, get_script_prefix, path, reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import display

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import configures, rights_of, sees_every_flow, watched_flow_ids
from flows.admin.display import level, link, list_of, page_of
from flows.admin.home import number, short
from flows.admin.pausing import PausingAdmin
from flows.admin.queue_tuning import TuningAdmin
from flows.admin.sparkline import sparkline
from flows.models import DeadLetter, Queue
from flows.monitoring.impact import letters_of_queue, queue_stays
from flows.monitoring.kept import Kept
from flows.monitoring.overview import NONE_UNREADABLE
from flows.monitoring.queue_page import (
    FLOW_PAUSED,
    FULL,
    OPEN,
    PAUSED,
    SeenQueue,
    seen_queues,
)
from flows.tasks.clusters import unreadable_now
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.dialogs import asking, dialog, leave_dialog
from scripts.admin.site import register

STATE_LABELS = {OPEN: "success", PAUSED: "warning", FLOW_PAUSED: "warning", FULL: "danger"}
SHOWN = ("name",)
# The columns of the list that are loaded again and again.
LIVE_CELLS = ("filled", "working", "oldest", "rate", "throughput", "dead", "state")
MOST_LIVE = 200
# All that see the same flows see the same cells.
_shared = Kept(1.0)


@register(Queue)
class QueueAdmin(DeletionAdmin, TuningAdmin, PausingAdmin):
    class Media:
        css: ClassVar[Any] = {"all": ["flows/queues.css", "flows/flow.css"]}

    change_form_template = "admin/flows/queue/change_form.html"
    list_before_template = "admin/flows/queue/before_list.html"
    list_display = ("name", *(f"live_{cell}" for cell in LIVE_CELLS), "change_in_place")
    list_filter = ("paused",)
    list_select_related = ("state", "step__flow", "paused_by")
    search_fields = ("name", "step__name", "step__flow__name")
    fieldsets = (
        (None, {"fields": SHOWN}),
        ("Size and polling", {"fields": ("size", "polling")}),
        ("Workers", {"fields": ("cluster",)}),
        (
            "Redelivery",
            {
                "fields": (
                    "max_deliveries",
                    "max_wait",
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
    actions_detail = ("pause", "let_one_through", "resume")

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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list, which reads the figures of its rows together."""
        base: Any = super().get_changelist(request, **kwargs)

        user: Any = request.user
        may_all = user.has_perm("flows.change_queue") or configures(request, None)

        class QueueList(base):
            def get_results(self, request: HttpRequest) -> None:
                super().get_results(request)
                ids = [queue.pk for queue in self.result_list]
                seen = seen_queues(Queue.objects.filter(pk__in=ids))
                for queue in self.result_list:
                    queue.seen = seen.get(queue.pk)
                    step = queue.fed_step
                    queue.may_change = may_all or (
                        step is not None and configures(request, step.flow_id)
                    )

        return QueueList

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("live/", view(self.live_list), name="flows_queue_live_list"),
            path("<int:pk>/live/", view(self.live), name="flows_queue_live"),
            *super().get_urls(),
        ]

    def live_list(self, request: HttpRequest) -> HttpResponse:
        """Return the cells of the list's rows that change by themselves."""
        given = request.GET.get("ids", "").split(",")[:MOST_LIVE]
        ids = tuple(int(each) for each in given if each.isdecimal() and len(each) < 19)
        flow_ids = watched_flow_ids(request)
        key = (ids, flow_ids, get_script_prefix())
        cells = _shared.read(key, lambda: self._cells(ids, flow_ids))
        return HttpResponse(cells)

    def _cells(self, ids: Sequence[int], flow_ids: Sequence[int] | None) -> SafeString:
        """Return the cells of these queues, of the flows alone; None: of all flows."""
        queues = Queue.objects.filter(pk__in=ids)
        if flow_ids is not None:
            queues = queues.filter(step__flow__in=flow_ids)
        dead = DeadLetter.objects.all().open_of_queues(ids)
        cells = (
            _swapped(each.queue, name, self.cell(each.queue, name))
            for each in self._with_figures(queues, dead)
            for name in LIVE_CELLS
        )
        return mark_safe("".join(cells))  # noqa: S308  escaped one by one

    def _with_figures(
        self,
        queues: QuerySet[Queue],
        dead: dict[int, int],
        unreadable: Mapping[str, str] = NONE_UNREADABLE,
    ) -> Iterator[SeenQueue]:
        for pk, each in seen_queues(queues, unreadable).items():
            each.queue.seen, each.queue.dead = each, dead.get(pk, 0)
            yield each

    def cell(self, queue: Any, name: str) -> Any:
        """Return what a cell of the list shows."""
        if name == "state":
            return self.labelled(queue, queue.seen.state, STATE_LABELS[queue.seen.state])
        method = {"dead": "open_dead_letters"}.get(name, name)
        return getattr(self, method)(queue)

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the part of the page that follows the queue."""
        queue = self.get_object(request, str(pk))
        if queue is None:
            raise Http404
        context = self._live_page(request, queue)
        return TemplateResponse(request, "admin/flows/queue/live.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if queue := context.get("original"):
            context |= self._live_page(request, queue)
        return super().render_change_form(request, context, *args, **kwargs)

    def _live_page(self, request: HttpRequest, queue: Queue) -> dict[str, Any]:
        queues = Queue.objects.filter(pk=queue.pk)
        dead = {queue.pk: queue.dead}  # type: ignore[attr-defined]
        seen = next(self._with_figures(queues, dead, unreadable_now()), None)
        if seen is None:
            return {}
        queue, figures = seen.queue, seen.figures
        return {
            "queue": queue,
            "queue_may_change": self.has_change_permission(request, queue),
            "queue_live_url": reverse("admin:flows_queue_live", args=[queue.pk]),
            "queue_state": seen.state,
            "queue_state_label": STATE_LABELS[seen.state],
            "queue_pause": self.pause_state(queue) if queue.paused and not seen.why else "",
            "queue_why": seen.why,
            "queue_feeds": self.feeds(queue),
            "queue_filled": self.filled(queue),
            "queue_working": self.working(queue),
            "queue_oldest": self.oldest(queue),
            "queue_delayed": number(figures.delayed),
            "queue_rate": self.rate(queue),
            "queue_dead": self.open_dead_letters(queue),
            "queue_curve": curve_of(seen),
            "queue_done": number(seen.curve.total("completed")),
            "queue_failed": number(seen.curve.total("letters")),
        }

    def offered(self, obj: Any) -> list[str]:
        names = super().offered(obj)
        step = obj.fed_step
        is_paused = obj.paused or bool(step and step.flow.paused)
        return [name for name in names if name != "let_one_through" or is_paused]

    @asking(
        dialog(
            "Let one message of the queue {obj} through?",
            "The run whose message is next goes on to its end, although queues or flow are paused."
            " All others stay paused.",
            "Let one through",
            asks_reason=True,
        ),
        description="Let one through",
        icon="fast_forward",
        permissions=["operate"],
    )
    def let_one_through(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        queue = get_object_or_404(self.get_queryset(request), pk=object_id)
        run = engine.let_one_through(
            queue, user=request.user, reason=form.cleaned_data.get("reason", "")
        )
        if run is None:
            self.message_user(request, "No message is ready that is held back.", messages.INFO)
        else:
            url = reverse("admin:flows_run_change", args=[run])
            note = format_html('<a class="underline" href="{}">One run</a> goes on.', url)
            self.message_user(request, note, messages.SUCCESS)
        return leave_dialog(page_of(queue))

    def get_fieldsets(self, request: HttpRequest, obj: Queue | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return ((None, {"fields": ("name",)}), *fieldsets[1:])
        return fieldsets

    @display(description="messages", ordering="state__depth")
    def live_filled(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "filled")

    @display(description="threads")
    def live_working(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "working")

    @display(description="oldest")
    def live_oldest(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "oldest")

    @display(description="rate")
    def live_rate(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "rate")

    @display(description="last hour")
    def live_throughput(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "throughput")

    @display(description="dead letters", ordering="dead")
    def live_dead(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "dead")

    @display(description="state", ordering="paused")
    def live_state(self, queue: Any) -> SafeString:
        return self._live_cell(queue, "state")

    @display(description="")
    def change_in_place(self, queue: Any) -> Any:
        if not queue.may_change:
            return ""
        return render_to_string("admin/flows/queue/tune_link.html", {"queue": queue})

    def _live_cell(self, queue: Any, name: str) -> SafeString:
        return format_html('<div id="{}">{}</div>', cell_id(queue, name), self.cell(queue, name))

    def filled(self, queue: Any) -> Any:
        figures = queue.seen.figures
        delayed = f" and {number(figures.delayed)} delayed" if figures.delayed else ""
        feeds = step_fed_by(queue) or (
            "of a deleted flow" if queue.seen.is_of_deleted_flow else "no step"
        )
        return format_html(
            "{}<small>{}{}</small>", level(figures.taken, figures.size), feeds, delayed
        )

    def working(self, queue: Any) -> str:
        figures = queue.seen.figures
        if not figures.threads:
            return "-"
        return f"{min(figures.busy, figures.threads):,} of {figures.threads:,} busy"

    def oldest(self, queue: Any) -> str:
        ready_for = queue.seen.figures.ready_for
        return short(ready_for.total_seconds()) if ready_for else "-"

    def rate(self, queue: Any) -> SafeString | str:
        figures = queue.seen.figures
        if not figures.rate_count:
            return "-"
        return format_html(
            '<span class="whitespace-nowrap">{} of {}</span>'
            ' <span class="whitespace-nowrap">in {}</span>',
            f"{figures.rate_used:,}",
            f"{figures.rate_count:,}",
            short(figures.rate_seconds),
        )

    def throughput(self, queue: Any) -> Any:
        return format_html('<div class="queue-curve">{}</div>', curve_of(queue.seen))

    def feeds(self, queue: Any) -> Any:
        if fed := step_fed_by(queue):
            return fed
        return "messages of a deleted flow" if queue.seen.is_of_deleted_flow else "no step"

    def open_dead_letters(self, queue: Any) -> Any:
        if not queue.dead:
            return 0
        return link(list_of(DeadLetter, queue=queue.name, state="open"), f"{queue.dead:,}")


def cell_id(queue: Queue, name: str) -> str:
    return f"queue-{queue.pk}-{name}"


def _swapped(queue: Queue, name: str, shown: Any) -> str:
    """Return a cell that the page puts in the place of its id.

    `format_html` would take a quarter of the processor time of the whole list.
    """
    cell = shown if isinstance(shown, SafeString) else conditional_escape(shown)
    return f'<div id="{cell_id(queue, name)}" hx-swap-oob="innerHTML">{cell}</div>'


def curve_of(seen: SeenQueue) -> SafeString:
    curve = seen.curve
    return sparkline((), curve.of("completed"), curve.of("letters"))


def step_fed_by(queue: Queue) -> SafeString | None:
    step = queue.fed_step
    if step is None:
        return None
    return format_html("{} of {}", step.name, link(page_of(step.flow), step.flow.name))
