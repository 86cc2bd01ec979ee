"""Thresholds of alarms: their list, and the page of those of all, of a flow or of a queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from flows.access.rights import flows_with
from flows.admin.by_role import ConfiguredByRole, configures, has_right_somewhere, rights_of
from flows.models import AlertThresholds, Flow, Queue, Right
from flows.models.alert_thresholds import set_thresholds, thresholds_of
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.durations import format_duration
from scripts.admin.site import register

TO_CHANGE = frozenset({Right.CONFIGURE.value})
SCOPE = ("flow", "queue")


class AlertThresholdsForm(forms.ModelForm):
    """The admin sets `may_set_all` on a subclass for each request."""

    may_set_all = False

    class Meta:
        model = AlertThresholds
        fields = "__all__"  # noqa: DJ007 - the admin names them

    def get_initial_for_field(self, field: forms.Field, field_name: str) -> Any:
        value = super().get_initial_for_field(field, field_name)
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        is_new = "flow" in self.fields
        if is_new and not (self.may_set_all or data.get("flow") or data.get("queue")):
            raise ValidationError("Choose a flow or a queue: you may not set those of all.")
        return data


@register(AlertThresholds)
class AlertThresholdsAdmin(ConfiguredByRole, DeletionAdmin, ConfigurationAdmin):
    opened_by = frozenset({Right.CONFIGURE.value, Right.OPERATE.value, Right.WATCH.value})
    form = AlertThresholdsForm
    list_display = ("place", "values")
    list_select_related = ("flow", "queue__step__flow")
    search_fields = ("flow__name", "queue__name")
    fieldsets = (
        ("Of what", {"fields": SCOPE}),
        ("Queues", {"fields": ("queue_full", "standing_still", "oldest_age")}),
        ("Dead letters", {"fields": ("new_letters",)}),
        (
            "Failing more than usual",
            {"fields": ("failed_runs", "failed_share", "failed_factor", "critical_share")},
        ),
        ("Workers", {"fields": ("workers_gone",)}),
    )

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        if rights[None] & self.opened_by:
            return None
        flows = flows_with(rights, self.opened_by)
        return Q(flow__in=flows) | Q(queue__step__flow__in=flows)

    def flow_of(self, obj: AlertThresholds) -> int | None:
        step = obj.queue.fed_step if obj.queue else None
        return step.flow_id if step else obj.flow_id

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or has_right_somewhere(request, TO_CHANGE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def deletion_of(self, request: HttpRequest, obj: AlertThresholds) -> Deletion:
        return Deletion(["Those of what stands above it count again."])

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"may_set_all": self._may_set_all(request)})

    def get_fieldsets(self, request: HttpRequest, obj: AlertThresholds | None = None) -> Any:
        if obj is None:
            return self.fieldsets
        shown = {*SCOPE, *thresholds_of(flow=obj.flow_id, queue=obj.queue_id)}
        shown -= {name for name in SCOPE if getattr(obj, name) is None}
        sections = (
            (title, {"fields": [name for name in options["fields"] if name in shown]})
            for title, options in self.fieldsets
        )
        return tuple(section for section in sections if section[1]["fields"])

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return SCOPE if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        rights = rights_of(request)
        wanted = self.opened_by if super().has_add_permission(request) else TO_CHANGE
        rows: QuerySet[Any] = (Flow if db_field.name == "flow" else Queue).objects.order_by("name")
        if not rights[None] & wanted:
            flow_of = "pk__in" if db_field.name == "flow" else "step__flow__in"
            rows = rows.filter(**{flow_of: flows_with(rights, wanted)})
        return super().formfield_for_foreignkey(db_field, request, queryset=rows, **kwargs)

    def _may_set_all(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or configures(request, None)

    @admin.display(description="of", ordering="flow__name")
    def place(self, row: AlertThresholds) -> str:
        return str(row)

    @admin.display(description="set")
    def values(self, row: AlertThresholds) -> str:
        shown = (
            f"{AlertThresholds._meta.get_field(name).verbose_name}: {_written(value)}"  # type: ignore[union-attr]
            for name, value in set_thresholds(row).items()
        )
        return "; ".join(shown) or "none"


def _written(value: Any) -> str:
    return format_duration(value) if isinstance(value, timedelta) else f"{value:g}"
