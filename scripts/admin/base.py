"""The common base classes of the Configuration Manager, for the admin of flows, too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from html import unescape
from typing import Any

from django.contrib.admin import ShowFacets, helpers
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_duration
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from simple_history.admin import SimpleHistoryAdmin
from simple_history.template_utils import HistoricalRecordContextHelper
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminForm, Fieldline
from unfold.widgets import UnfoldAdminTextareaWidget

from scripts.admin.bounds import state_bounds
from scripts.admin.confirmation import ConfirmationAdmin
from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.durations import DurationField, format_duration
from scripts.admin.help_texts import with_help
from scripts.admin.json_fields import MONOSPACE, indented
from scripts.extensions import Use
from scripts.models import Script

FORMFIELDS = {
    models.DurationField: {"form_class": DurationField},
    models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})},
}


def preformatted(text: str) -> SafeString:
    """Return text as a block that keeps its lines and scrolls sideways."""
    return format_html(
        '<pre class="bg-base-50 border border-base-200 overflow-x-auto p-3 rounded-default text-xs'
        ' dark:bg-base-800 dark:border-base-700" style="{} line-height: 1.5; max-height: 40rem;'
        # As wide as the page allows: unfold keeps read-only values narrow.
        " white-space: pre; width: max(100%, min(100vw - 42rem, 80rem));"
        # No wider than the screen of a phone: otherwise the page would grow with the longest line.
        ' max-width: calc(100vw - 3.75rem);">{}</pre>',
        SafeString(MONOSPACE),
        text,
    )


def links_to(uses: Iterable[Use]) -> SafeString:
    """Return the texts, each leading to its page if it has one."""
    links = [
        format_html('<a class="text-link" href="{}">{}</a>', use.url, use.text)
        if use.url
        else use.text
        for use in uses
    ]
    return format_html_join(", ", "{}", ((each,) for each in links))


def use_by(script: Script) -> Use:
    """Return the script as a use of something else."""
    return Use(script.name, reverse("admin:scripts_script_change", args=[script.pk]))


def links_to_scripts(scripts: Iterable[Script]) -> SafeString | str:
    return links_to(map(use_by, scripts)) or "no script"


class OwnTransactions:
    """Pages that commit themselves: ATOMIC_REQUESTS has no effect on them.

    Django's own pages save in a transaction anyway. A trial would hold the transaction of its
    request, which on SQLite stops all writers, and an error would lose the trial's record. An
    action of the engine has to be committed before the page reports it.
    """

    @property
    def urls(self) -> list[Any]:
        patterns: list[Any] = self.get_urls()  # type: ignore[attr-defined]
        for pattern in patterns:
            non_atomic_requests(pattern.callback)
        return patterns


class HistoryRow(HistoricalRecordContextHelper):
    """A change of the history, with durations as people write them."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        if isinstance(value, timedelta):
            return format_duration(value)
        return super().prepare_delta_change_value(change, value)


class OfHistory:
    """A form that is sent from a page of the history.

    It begins with an earlier state. What it does not show, such as whether a queue is paused, is as
    it is stored.
    """

    base_fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs["instance"]
        columns = [field.name for field in instance._meta.concrete_fields]
        instance.refresh_from_db(fields=[name for name in columns if name not in self.base_fields])
        super().__init__(*args, **kwargs)


class ConfigurationAdmin(
    OwnTransactions, ConfirmationAdmin, ConflictAdmin, SimpleHistoryAdmin, ModelAdmin
):
    """Admin of configured objects: with a history, and durations as people write them."""

    formfield_overrides = FORMFIELDS
    list_per_page = 50
    # Shown as code to users who may view an object but not change it.
    preformatted_fields: tuple[str, ...] = ()

    @property
    def readonly_preprocess_fields(self) -> dict[str, Any]:
        fields = self.model._meta.concrete_fields
        return {
            **{f.name: _show_duration for f in fields if isinstance(f, models.DurationField)},
            **{f.name: _show_json for f in fields if isinstance(f, models.JSONField)},
            **dict.fromkeys(self.preformatted_fields, _show_code),
        }

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        return with_help(db_field, state_bounds(db_field, field))

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        inlines = super().get_inlines(request, obj)
        return [each for each in inlines if obj or not issubclass(each, ReadOnlyInline)]

    def get_historical_record_context_helper(self, request: HttpRequest, record: Any) -> HistoryRow:
        return HistoryRow(self.model, record)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        is_of_history = getattr(request, "is_of_history", False)
        return type(form.__name__, (OfHistory, form), {}) if is_of_history else form

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # unfold's templates need these; unfold sets them only in its change view.
        if request.method == "POST":
            self._require_change(request, str(kwargs.get("object_id") or args[0]))
            request.is_of_history = True  # type: ignore[attr-defined]
        helpers.AdminForm = AdminForm  # type: ignore[misc]
        helpers.Fieldline = Fieldline  # type: ignore[misc]
        return super().history_form_view(request, *args, **kwargs)

    def _require_change(self, request: HttpRequest, object_id: str) -> None:
        # django-simple-history would revert for users who may only view.
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_change_permission(request, obj):
            raise PermissionDenied


class ReadOnly:
    """Admin of objects that the engine writes: users with the permission to view may see them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(OwnTransactions, ReadOnly, ModelAdmin):
    list_per_page = 50
    # These lists may have millions of rows, which the counts of the filters would read.
    show_facets = ShowFacets.NEVER
    actions: Any = None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # These objects are not edited, so there is no history of edits.
        context["show_history"] = False
        return super().render_change_form(request, context, *args, **kwargs)


class PlainInline(TabularInline):
    """A table of rows without a title above each; later versions of unfold name the option anew."""

    show_title = False
    if not hasattr(TabularInline, "show_title"):
        hide_title = True

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            # The head of the column is no label of the field in each row.
            field.widget.attrs.setdefault("aria-label", capfirst(field.label))
        return with_help(db_field, state_bounds(db_field, field))


class ReadOnlyInline(ReadOnly, PlainInline):
    extra = 0
    max_num = 0
    tab = True
    per_page = 20


# unfold passes the value escaped, as it would have shown it.


def _show_duration(contents: str) -> str:
    value = parse_duration(contents)
    return contents if value is None else format_duration(value)


def _show_json(contents: str) -> str:
    try:
        value = json.loads(unescape(contents))
    except ValueError:
        # Empty, or coloured already: unfold colours it where Pygments is installed.
        return contents
    return preformatted(indented(value))


def _show_code(contents: str) -> SafeString:
    return preformatted(unescape(contents))
