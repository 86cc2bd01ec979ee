"""Runs: the list, the page of one with its attempts, cancelling, and the check of conservation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, may_cancel, seen_runs
from flows.admin.by_role import ByRole, has_right, has_right_somewhere, rights_of, sees_every_flow
from flows.admin.conservation import checked_tables
from flows.admin.display import STATUS_LABELS, elapsed, link, list_of, page_of, shown_time
from flows.admin.filters import AgeFilter, CreatedFilter, FlowFilter, StatusFilter
from flows.admin.long_texts import LongTexts, shown_text
from flows.models import BranchEnd, Message, Right, Run, StepRun
from flows.monitoring.trace import trace
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.dialogs import DetailActions, dialog, leave_dialog

HEX_DIGITS = 32
# A step may have thousands of branches.
MOST_ATTEMPTS = 50
# Characters of an attempt's logs.
MOST_LOGS = 20_000


@admin.register(Run)
class RunAdmin(DetailActions, ByRole, LongTexts, ReadOnlyAdmin):
    """For millions of rows: it counts no rows, and every order is that of the key."""

    long_texts = ("result",)
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
    search_help_text = "Correlation id, or the beginning of one"
    ordering = ("-correlation_id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    change_form_template = "admin/flows/run/change_form.html"
    actions: Any = ("cancel_selected",)
    actions_list: Any = ("conservation",)
    actions_detail = ("cancel", "bypass_pause")

    def seen(self, request: HttpRequest) -> Q | None:
        return seen_runs(request.user, rights_of(request))

    def flow_of(self, obj: Run) -> int | None:
        return obj.flow_version.flow_id

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
            return run.select_related("flow_version__flow", "started_by", "cancelled_by").first()
        except ValidationError:
            return None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        watches = has_right(request, SEES_EVERY_RUN, self.flow_of(run))
        shown = trace(run)
        context |= {
            "title": "Run",
            "run": run,
            "run_finished": has_ended(run),
            "run_status_label": STATUS_LABELS.get(run.status),
            "run_duration": self.duration(run),
            "run_flow": self.flow(run),
            "run_result": run.status == Run.Status.COMPLETED and shown_text(run, "result"),
            "run_steps": [_step(step) for step in shown["steps"]],
            "run_waits_because": shown.get("waitingBecause"),
            "run_bypasses_pause": Message.objects.of_run(run.pk)
            .filter(bypasses_pause=True)
            .exists(),
            "run_branch_ends": BranchEnd.objects.filter(run=run.pk).count(),
            "run_dead_letters": [
                {"letter": letter, "url": page_of(letter)}
                for letter in run.dead_letters.select_related(
                    "step", "reprocessed_by", "discarded_by"
                )
                if watches
            ],
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def has_cancel_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if object_id is None:
            return has_right_somewhere(request, {Right.OPERATE, Right.START})
        if request.user.is_superuser:
            return True
        run = self.get_object(request, str(object_id))
        return run is not None and may_cancel(request.user, run)

    def offered(self, obj: Run) -> tuple[str, ...]:
        if has_ended(obj):
            return ()
        return ("cancel", "bypass_pause") if may_bypass_pause(obj) else ("cancel",)

    @admin.action(description="Cancel the selected runs", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        chosen = [
            run for run in runs.select_related("flow_version") if may_cancel(request.user, run)
        ]
        if left_out := runs.count() - len(chosen):
            note = f"Left out, because you may not cancel them: {left_out}."
            self.message_user(request, note, messages.WARNING)
        cancelled = sum(self._cancel(request, run) for run in chosen)
        if cancelled:
            self.message_user(request, f"Cancelled: {cancelled}.", messages.SUCCESS)
        if ended := len(chosen) - cancelled:
            note = f"Skipped, because they had ended before: {ended}."
            self.message_user(request, note, messages.INFO)

    @action(
        description="Cancel",
        icon="cancel",
        permissions=["cancel"],
        variant=ActionVariant.DANGER,
        dialog=dialog(
            "Cancel this run?",
            "Its waiting messages are removed at once, a running script is stopped within 2 s, and"
            " its dead letters are discarded.",
            "Cancel the run",
        ),
    )
    def cancel(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = get_object_or_404(Run.objects.select_related("flow_version"), pk=object_id)
        if self._cancel(request, run):
            self.message_user(request, "The run was cancelled.", messages.SUCCESS)
        else:
            self._report_end(request, run)
        return leave_dialog(page_of(run))

    def _cancel(self, request: HttpRequest, run: Run) -> bool:
        """Cancel the run; return whether this call has ended it."""
        if has_ended(run):
            return False
        engine.cancel(run, user=request.user)
        return run.status == Run.Status.CANCELLED

    @action(
        description="Bypass the pause",
        icon="fast_forward",
        permissions=["operate"],
        dialog=dialog(
            "Let this run bypass the pause?",
            "Its messages are handed out although its queues or its flow are paused, until the run"
            " ends. All other runs stay paused.",
            "Bypass the pause",
        ),
    )
    def bypass_pause(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = get_object_or_404(Run, pk=object_id)
        if engine.bypass_pause(run, user=request.user):
            note = "The run goes on although its queues or its flow are paused."
            self.message_user(request, note, messages.SUCCESS)
        else:
            self._report_end(request, run)
        return leave_dialog(page_of(run))

    def _report_end(self, request: HttpRequest, run: Run) -> None:
        run.refresh_from_db()
        self.message_user(request, f"The run has ended: {run.status}.", messages.INFO)

    def has_conservation_permission(self, request: HttpRequest) -> bool:
        return sees_every_flow(request)

    @action(description="Check conservation", icon="balance", permissions=["conservation"])
    def conservation(self, request: HttpRequest) -> HttpResponse:
        """Compare all counters with all rows. It reads every row, so it runs on request alone."""
        flow_table, queue_table = checked_tables()
        context = {
            **self.admin_site.each_context(request),
            "title": "Conservation",
            "opts": self.opts,
            "flow_table": flow_table,
            "queue_table": queue_table,
            "check_again_url": request.path,
            "back_url": list_of(Run),
        }
        return TemplateResponse(request, "admin/flows/run/conservation.html", context)

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
        return shown_time(run.created_at)

    @admin.display(description="duration")
    def duration(self, run: Run) -> str:
        """Return the time from the start to the end, or until now."""
        return elapsed(run.created_at, run.finished_at or timezone.now())


def id_bounds(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begins with the text, None if none can."""
    digits = text.strip().replace("-", "").lower()
    if not digits or len(digits) > HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(HEX_DIGITS, "0")), UUID(digits.ljust(HEX_DIGITS, "f"))


def has_ended(run: Run) -> bool:
    """Say whether the run has no message left. A failed run may go on with other branches."""
    if run.status == Run.Status.FAILED:
        return not Message.objects.of_run(run.pk).exists()
    return run.status in Run.FINISHED


def _bypasses_pause(run: Run) -> bool:
    return Message.objects.of_run(run.pk).filter(bypasses_pause=True).exists()


def may_bypass_pause(run: Run) -> bool:
    """Say whether a message of the run waits, or will, because its queue or flow is paused."""
    paused = (
        Q(queue__paused=True)
        | Q(queue__step__flow__paused=True)
        | Q(step__queue__paused=True)
        | Q(step__flow_version__flow__paused=True)
    )
    return Message.objects.of_run(run.pk).filter(paused, bypasses_pause=False).exists()


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step of the trace with what its template shows."""
    attempts = _most_telling(step["attempts"])
    return {
        **step,
        "label": STATUS_LABELS.get(step["status"]),
        "duration": _elapsed(step),
        "hidden_attempts": len(step["attempts"]) - len(attempts),
        "attempts": [
            {
                **attempt,
                "name": _attempt_name(attempt),
                "label": STATUS_LABELS.get(attempt["outcome"], "danger"),
                "started": parse_datetime(attempt["startedAt"]),
                "duration": _elapsed(attempt),
                "logs": _cut("\n".join(map(_log_line, attempt["logs"]))),
            }
            for attempt in attempts
        ],
    }


def _most_telling(attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the attempts that fit on a page; failed ones take precedence."""
    if len(attempts) <= MOST_ATTEMPTS:
        return attempts
    numbered = sorted(
        enumerate(attempts), key=lambda each: each[1]["outcome"] == StepRun.Outcome.COMPLETED
    )
    return [attempt for _, attempt in sorted(numbered[:MOST_ATTEMPTS], key=lambda each: each[0])]


def _attempt_name(attempt: dict[str, Any]) -> str:
    name = f"attempt {attempt['attempt']}"
    branch = attempt.get("branch")
    return f"Branch {branch}, {name}" if branch else name.capitalize()


def _elapsed(times: dict[str, Any]) -> str:
    start, end = times["startedAt"], times["finishedAt"]
    return elapsed(parse_datetime(start), parse_datetime(end)) if start and end else ""


def _cut(logs: str) -> str:
    return (
        logs if len(logs) <= MOST_LOGS else f"{logs[:MOST_LOGS]}\n… cut here; the API has the rest"
    )


def _log_line(entry: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(entry["at"], UTC)
    return f"{at:%H:%M:%S.%f} {entry['level']:<8} {entry['text']}"
