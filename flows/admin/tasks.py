"""django-q2's own tasks and schedules, on the pages of the Configuration Manager."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django_q import admin as django_q_admin
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin

from scripts.admin.base import ReadOnlyAdmin

for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(Schedule)
class ScheduleAdmin(django_q_admin.ScheduleAdmin, ModelAdmin):
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
class SuccessAdmin(ReadOnlyAdmin, django_q_admin.TaskAdmin):
    list_filter = ("group", "cluster")


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin, django_q_admin.FailAdmin):
    list_filter = ("group", "cluster")


@admin.register(OrmQ)
class QueuedTaskAdmin(ReadOnlyAdmin, django_q_admin.QueueAdmin):
    fields: Any = ("key", "lock", "task_id", "name", "group", "func", "args", "kwargs", "q_options")
    readonly_fields: Any = fields
