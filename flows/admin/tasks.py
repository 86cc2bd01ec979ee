"""django-q2's own tasks and schedules, on the pages of the Configuration Manager.

They name functions that the workers run outside the sandbox, so they are for superusers alone.
"""

from __future__ import annotations

import ast
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q import admin as django_q_admin
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from unfold.admin import ModelAdmin

from flows.admin.display import elapsed, first_line, link, page_of, shown_time
from flows.admin.registering import unregister_stock
from flows.tasks.allowed_tasks import task_fault
from scripts.admin.base import ReadOnlyAdmin, preformatted
from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.durations import format_duration
from scripts.admin.site import register

# What `ast` raises for a text that is no literal of Python.
UNREADABLE = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)
NOT_PLAIN = "Must be plain values, such as 1, 'two', [3]."

for model in (Failure, OrmQ, Schedule, Success):
    unregister_stock(model)


class ForSuperusers:
    """Closed to all but superusers, also to staff with permissions for the models."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_superuser(request)


class ChangedBySuperusers(ForSuperusers):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_superuser(request)


def is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)


class ScheduleForm(forms.ModelForm):
    """Refuses a row that the scheduler cannot read: one such row stops every schedule."""

    def clean_func(self) -> str:
        return _allowed(self.cleaned_data["func"])

    def clean_hook(self) -> str | None:
        hook = self.cleaned_data["hook"]
        return _allowed(hook) if hook else hook

    def clean_args(self) -> str | None:
        text = self.cleaned_data["args"]
        if text:
            try:
                ast.literal_eval(text)
            except UNREADABLE as error:
                raise forms.ValidationError(NOT_PLAIN) from error
        return text

    def clean_kwargs(self) -> str | None:
        text = self.cleaned_data["kwargs"]
        if text and not _are_keywords(text):
            raise forms.ValidationError("Must be keywords with plain values, such as x=1, y='two'.")
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("schedule_type") == Schedule.CRON and not cleaned.get("cron"):
            self.add_error("cron", "Give the cron expression.")
        return cleaned


def _allowed(path: str) -> str:
    if fault := task_fault(path):
        raise forms.ValidationError(fault)
    return path


def _are_keywords(text: str) -> bool:
    """Say whether django-q2's scheduler can use the text as keyword arguments."""
    keywords = _keywords(text)
    if keywords is None or not all(isinstance(name, str) for name in keywords):
        return False
    return isinstance(keywords.get("q_options", {}), dict)


def _keywords(text: str) -> dict[Any, Any] | None:
    """Read a text as the scheduler does: a dict, or the arguments of a call."""
    try:
        value = ast.literal_eval(text)
        return value if isinstance(value, dict) else None
    except UNREADABLE:
        pass
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            return None
        return {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    except UNREADABLE:
        return None


@register(Schedule)
class ScheduleAdmin(ConflictAdmin, ChangedBySuperusers, django_q_admin.ScheduleAdmin, ModelAdmin):
    form = ScheduleForm
    list_display = ("name", "short_func", "rhythm", "left", "next_at", "last")
    list_display_links = ("name",)
    list_filter = ("schedule_type",)
    list_per_page = 50

    @admin.display(description="function", ordering="func")
    def short_func(self, schedule: Schedule) -> SafeString:
        """Return the end of the path: whole it is wider than the page."""
        end = ".".join(schedule.func.split(".")[-2:])
        return format_html('<span title="{}">{}</span>', schedule.func, end)

    @admin.display(description="rhythm", ordering="schedule_type")
    def rhythm(self, schedule: Schedule) -> str:
        if schedule.schedule_type == Schedule.MINUTES:
            return f"every {format_duration(timedelta(minutes=schedule.minutes or 1))}"
        if schedule.schedule_type == Schedule.CRON:
            return f"cron {schedule.cron}"
        return str(schedule.get_schedule_type_display()).lower()

    @admin.display(description="runs left", ordering="repeats")
    def left(self, schedule: Schedule) -> str:
        return "no end" if schedule.repeats < 0 else f"{schedule.repeats:,}"

    @admin.display(description="next run", ordering="next_run")
    def next_at(self, schedule: Schedule) -> SafeString:
        return shown_time(schedule.next_run, "next")

    @admin.display(description="last run")
    def last(self, schedule: Any) -> Any:
        if schedule.task_id is None:
            return "-"
        model, how = (Success, "succeeded") if schedule.task_success else (Failure, "failed")
        return link(page_of(model(pk=schedule.task_id)), how)


class EndedTaskAdmin(ForSuperusers, ReadOnlyAdmin):
    """Tasks that ended: times as everywhere, and no help for fields that are not filled in."""

    list_filter = ("group", "cluster")
    fields: Any = (
        *("name", "task_id", "func", "arguments", "keywords", "outcome"),
        *("started_at", "took", "attempts", "group", "cluster", "hook_called"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    @admin.display(description="task id")
    def task_id(self, task: Task) -> str:
        return str(task.pk)

    @admin.display(description="arguments")
    def arguments(self, task: Task) -> Any:
        return preformatted(repr(task.args)) if task.args else "-"

    @admin.display(description="keyword arguments")
    def keywords(self, task: Task) -> Any:
        return preformatted(repr(task.kwargs)) if task.kwargs else "-"

    @admin.display(description="result")
    def outcome(self, task: Task) -> Any:
        return "-" if task.result is None else preformatted(str(task.result))

    @admin.display(description="started", ordering="started")
    def started_at(self, task: Task) -> SafeString:
        return shown_time(task.started)

    @admin.display(description="ended", ordering="stopped")
    def ended_at(self, task: Task) -> SafeString:
        return shown_time(task.stopped)

    @admin.display(description="duration")
    def took(self, task: Task) -> str:
        return elapsed(task.started, task.stopped)

    @admin.display(description="attempts", ordering="attempt_count")
    def attempts(self, task: Task) -> str:
        return f"{task.attempt_count:,}"

    @admin.display(description="hook")
    def hook_called(self, task: Task) -> str:
        return task.hook or "-"


@register(Success)
class SuccessAdmin(EndedTaskAdmin, django_q_admin.TaskAdmin):
    list_display = ("name", "func", "group", "ended_at", "took")


@register(Failure)
class FailureAdmin(EndedTaskAdmin, django_q_admin.FailAdmin):
    list_display = ("name", "func", "ended_at", "attempts", "error")

    @admin.display(description="error")
    def error(self, task: Task) -> str:
        return first_line(str(task.result))


@register(OrmQ)
class QueuedTaskAdmin(ForSuperusers, ReadOnlyAdmin, django_q_admin.QueueAdmin):
    list_display = ("called", "func", "group", "not_before")
    list_display_links = ("called",)
    fields: Any = ("called", "task_id", "func", "args", "kwargs", "group", "not_before", "queue")
    readonly_fields: Any = fields

    @admin.display(description="name")
    def called(self, task: OrmQ) -> str:
        return str(task)

    @admin.display(description="not before", ordering="lock")
    def not_before(self, task: OrmQ) -> SafeString:
        return shown_time(task.lock)

    @admin.display(description="cluster")
    def queue(self, task: OrmQ) -> str:
        return task.key


def queued_name(task: OrmQ) -> str:
    """Return what a task that waits is called; an unreadable one has no name."""
    return str(task.name() or f"unreadable task {task.pk}")


# Breadcrumbs and histories call an object by its text.
OrmQ.__str__ = queued_name
