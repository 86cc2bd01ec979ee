"""django-q2's own tasks and schedules, on the pages of the Configuration Manager.

They name functions that the workers run outside the sandbox, so they are for superusers alone.
"""

from __future__ import annotations

import ast
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django_q import admin as django_q_admin
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin

from flows.tasks.allowed_tasks import task_fault
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.conflicts import ConflictAdmin

# What `ast` raises for a text that is no literal of Python.
UNREADABLE = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)
NOT_PLAIN = "Must be plain values, such as 1, 'two', [3]."

for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


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


@admin.register(Schedule)
class ScheduleAdmin(ConflictAdmin, ChangedBySuperusers, django_q_admin.ScheduleAdmin, ModelAdmin):
    form = ScheduleForm
    list_display = (
        "name",
        "func",
        "schedule_type",
        "repeats",
        "next_run",
        "last_run",
        "get_success",
    )
    list_display_links = ("name",)
    list_filter = ("schedule_type",)
    list_per_page = 50

    @admin.display(description="last run")
    def last_run(self, schedule: Schedule) -> Any:
        return self.get_last_run(schedule)


@admin.register(Success)
class SuccessAdmin(ForSuperusers, ReadOnlyAdmin, django_q_admin.TaskAdmin):
    list_filter = ("group", "cluster")


@admin.register(Failure)
class FailureAdmin(ForSuperusers, ReadOnlyAdmin, django_q_admin.FailAdmin):
    list_filter = ("group", "cluster")


@admin.register(OrmQ)
class QueuedTaskAdmin(ForSuperusers, ReadOnlyAdmin, django_q_admin.QueueAdmin):
    fields: Any = ("key", "lock", "task_id", "name", "group", "func", "args", "kwargs", "q_options")
    readonly_fields: Any = fields
