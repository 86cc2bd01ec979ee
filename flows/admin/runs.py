from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from flows.admin.display import STATUS_LABELS, elapsed, link, moment, page_of
from flows.admin.filters import AgeFilter, CreatedFilter, FlowFilter, StatusFilter
from flows.models import Run
from flows.trace import FINISHED, trace
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.json_fields import pretty_json

HEX_DIGITS = 32


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Made for millions of rows: nothing counts, and every order is that of the key."""

    list_display: Any = (
        "correlation_id",
        "flow",
        "status_label",
        "created",
        "duration",
        "warnings",
    )
    list_filter = (FlowFilter, StatusFilter, AgeFilter, ("created_at", CreatedFilter))
    list_filter_submit = True
    list_select_related = ("flow_version__flow",)
    search_fields: Any = ("correlation_id",)
    search_help_text = "Correlation id, or how it begins"
    ordering = ("-correlation_id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    change_form_template = "admin/flows/run/change_form.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        if not search_term.strip():
            return queryset, False
        bounds = id_bounds(search_term)
        return (queryset.filter(pk__range=bounds) if bounds else queryset.none()), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Run | None:
        try:
            run = self.get_queryset(request).filter(pk=object_id)
            return run.select_related("flow_version__flow", "started_by").first()
        except ValidationError:
            return None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        context |= {
            "title": "Run",
            "run": run,
            "run_finished": run.status in FINISHED,
            "run_status_label": STATUS_LABELS.get(run.status),
            "run_duration": self.duration(run),
            "run_flow": self.flow(run),
            "run_result": None if run.result is None else pretty_json(run.result),
            "run_steps": [_step(step) for step in trace(run)["steps"]],
            "run_dead_letters": [
                {"letter": letter, "url": page_of(letter)}
                for letter in run.dead_letters.select_related("step", "reprocessed_by")
            ],
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="flow")
    def flow(self, run: Run) -> Any:
        version = run.flow_version
        if version.flow is None:
            return f"{version} (deleted)"
        return link(page_of(version.flow), version)

    @display(description="status", label=STATUS_LABELS)
    def status_label(self, run: Run) -> str:
        return run.status

    @admin.display(description="created")
    def created(self, run: Run) -> str:
        return moment(run.created_at)

    @admin.display(description="duration")
    def duration(self, run: Run) -> str:
        """From the start call to the end, or until now."""
        return elapsed(run.created_at, run.finished_at or timezone.now())


def id_bounds(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begins with the text, None if none can."""
    digits = text.strip().replace("-", "").lower()
    if not digits or len(digits) > HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(HEX_DIGITS, "0")), UUID(digits.ljust(HEX_DIGITS, "f"))


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step of the trace with what its template shows."""
    return {
        **step,
        "label": STATUS_LABELS.get(step["status"]),
        "duration": _elapsed(step),
        "attempts": [
            {
                **attempt,
                "label": STATUS_LABELS.get(attempt["outcome"], "danger"),
                "started": parse_datetime(attempt["startedAt"]),
                "duration": _elapsed(attempt),
                "logs": "\n".join(map(_log_line, attempt["logs"])),
            }
            for attempt in step["attempts"]
        ],
    }


def _elapsed(times: dict[str, Any]) -> str:
    start, end = times["startedAt"], times["finishedAt"]
    return elapsed(parse_datetime(start), parse_datetime(end)) if start and end else ""


def _log_line(entry: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(entry["at"], UTC)
    return f"{at:%H:%M:%S.%f} {entry['level']:<8} {entry['text']}"
