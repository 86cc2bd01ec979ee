"""The audit log: the list with its filters, the page of an entry, and the export."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils.text import capfirst
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, FieldTextFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from flows.admin.audit_export import csv_lines, json_lines
from flows.admin.by_role import sees_every_flow
from flows.admin.display import link, shown_time
from flows.admin.error_pages import page
from flows.admin.filters import TimeRangeFilter
from flows.admin.malformed import MOST, OF_LOOKUPS, is_key, unreadable
from flows.models import (
    AlertTarget,
    AlertThresholds,
    AuditEntry,
    DeadLetter,
    Flow,
    FlowSchedule,
    Queue,
    Reprocessing,
    RoleMapping,
    Run,
    Step,
)
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.diff import Diff, diff_of_fields
from scripts.admin.site import register, site
from scripts.models import ConfigurationValue, Library, ReferenceTable, Script, Secret

VERBS = (
    "add",
    "change",
    "delete",
    "restore",
    "import",
    "cancel",
    "bypass the pause",
    "pause",
    "resume",
    "reprocess",
    "start again",
    "reprocess many",
    "stop",
    "go on",
    "upgrade",
    "discard",
    "erase",
    "change the state",
    "send again",
    "show the webhook secret",
    "replace the webhook secret",
    "turn the webhook on",
    "send a test alert",
    "log in",
    "fail to log in",
    "log out",
    "see as",
)
# The kinds with the models whose pages show them; None: they have no page of their own.
KINDS: dict[str, type[models.Model] | None] = {
    "flow": Flow,
    "step": None,
    "queue": Queue,
    "script": Script,
    "library": Library,
    "secret": Secret,
    "value": ConfigurationValue,
    "table": ReferenceTable,
    "run": Run,
    "dead letter": DeadLetter,
    "reprocessing": Reprocessing,
    "user": get_user_model(),
    "role": Group,
    "role mapping": RoleMapping,
    "token": None,
    "schedule": FlowSchedule,
    "alert target": AlertTarget,
    "alert thresholds": AlertThresholds,
    "scheduled task": None,
}
VERB_LABELS = {
    "add": "success",
    "delete": "danger",
    "discard": "danger",
    "cancel": "danger",
    "fail to log in": "danger",
    "change": "info",
    "pause": "warning",
}
# A text is looked for in this many of the newest entries that the filters leave.
LOOKED_THROUGH = 50_000
MOST_FIELDS = 4


class VerbFilter(DropdownFilter):
    title = "what"
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(verb, verb.capitalize()) for verb in VERBS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


class KindFilter(DropdownFilter):
    title = "kind of target"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind.capitalize()) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Open to superusers, and to staff with the permission to view it who see every flow.

    Entries name flows, runs and what was changed in them, so no part of the log is for others.
    """

    list_display = ("time", "who", "what", "target", "fields_changed", "origin", "short_reason")
    list_display_links = ("time",)
    list_filter = (
        ("actor", FieldTextFilter),
        VerbFilter,
        KindFilter,
        ("name", FieldTextFilter),
        ("source", ChoicesDropdownFilter),
        ("at", TimeRangeFilter),
    )
    list_filter_submit = True
    search_fields = ("name",)
    search_help_text = f"Text in any field of the newest {LOOKED_THROUGH:,} entries"
    ordering = ("-id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    list_before_template = "admin/flows/auditentry/export.html"
    change_form_after_template = "admin/flows/auditentry/changes.html"
    fields = ("time", "who", "what", "target", "origin", "reason")
    readonly_fields = fields

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and sees_every_flow(request)

    def get_urls(self) -> list[Any]:
        exports = [
            path("export.csv", self.admin_site.admin_view(self.export_csv), name="audit_csv"),
            path("export.ndjson", self.admin_site.admin_view(self.export_json), name="audit_json"),
        ]
        return [*exports, *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        if not search_term.strip():
            return queryset, False
        return _containing(search_term.strip(), queryset), False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list, which knows what its rows are about that is still there."""
        base: Any = super().get_changelist(request, **kwargs)

        class EntryList(base):
            def get_results(self, request: HttpRequest) -> None:
                super().get_results(request)
                mark_present(self.result_list)

        return EntryList

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        mark_present([context["original"]])
        context["diff"] = changes_of(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def export_csv(self, request: HttpRequest) -> HttpResponseBase:
        return self._export(request, csv_lines, "text/csv; charset=utf-8", "csv")

    def export_json(self, request: HttpRequest) -> HttpResponseBase:
        return self._export(request, json_lines, "application/x-ndjson", "ndjson")

    def _export(
        self,
        request: HttpRequest,
        lines: Callable[[QuerySet[AuditEntry]], Iterable[str]],
        content_type: str,
        ending: str,
    ) -> HttpResponseBase:
        """Send the entries of the list, all its pages, in batches."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = request.GET.copy()
        for name in (PAGE_VAR, ERROR_FLAG):
            query.pop(name, None)
        request.GET = query  # type: ignore[assignment]
        try:
            entries = self.get_changelist_instance(request).get_queryset(request)
        except OF_LOOKUPS:
            text = f"Nothing is exported, as {unreadable(request)}"[:MOST]
            return page(request, 400, "Cannot be exported", text)
        response = StreamingHttpResponse(lines(entries), content_type=content_type)
        response["Content-Disposition"] = f'attachment; filename="audit-log.{ending}"'
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="time")
    def time(self, entry: AuditEntry) -> str:
        return shown_time(entry.at)

    @admin.display(description="who")
    def who(self, entry: AuditEntry) -> str:
        if entry.actor and not entry.actor_id:
            return f"{entry.actor} (of the system)"
        return entry.actor or "unknown"

    @display(description="what", label=VERB_LABELS)
    def what(self, entry: AuditEntry) -> str:
        return entry.verb

    @admin.display(description="target")
    def target(self, entry: Any) -> Any:
        text = f"{entry.kind} {entry.name}".strip()
        model = KINDS.get(entry.kind)
        if model is None or not entry.is_present or not site.is_registered(model):
            return text
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return link(reverse(name, args=[entry.target_id]), text)

    @admin.display(description="fields")
    def fields_changed(self, entry: AuditEntry) -> str:
        names = [name.replace("_", " ") for name in {**(entry.before or {}), **(entry.after or {})}]
        more = len(names) - MOST_FIELDS
        return ", ".join(names[:MOST_FIELDS]) + (f" and {more} more" if more > 0 else "")

    @admin.display(description="from")
    def origin(self, entry: AuditEntry) -> str:
        source = entry.get_source_display()
        return f"{source}, {entry.address}" if entry.address else source

    @admin.display(description="reason")
    def short_reason(self, entry: AuditEntry) -> str:
        line = entry.reason.strip().partition("\n")[0]
        return line if len(line) <= 80 else f"{line[:79]}…"


def mark_present(entries: Iterable[Any]) -> None:
    """Note of each entry whether what it is about is still there: a query for each kind."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for entry in entries:
        ids[entry.kind].add(entry.target_id)
    present = {
        (kind, str(pk))
        for kind, keys in ids.items()
        if (model := KINDS.get(kind)) is not None
        for pk in model._base_manager.filter(
            pk__in=[key for key in keys if is_key(model, key)]
        ).values_list("pk", flat=True)
    }
    for entry in entries:
        entry.is_present = (entry.kind, entry.target_id) in present


def changes_of(entry: AuditEntry) -> Diff:
    return diff_of_fields(entry.before or {}, entry.after or {}, _titles(entry.kind))


def _titles(kind: str) -> dict[str, str]:
    """Return the names of the fields as the pages have them."""
    model = Step if kind == "step" else KINDS.get(kind)
    if model is None:
        return {}
    return {field.name: capfirst(str(field.verbose_name)) for field in model._meta.concrete_fields}


def _containing(text: str, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    """Return those of the newest entries that contain the text."""
    newest = entries.order_by("-id").values_list("pk", flat=True)
    beyond = list(newest[LOOKED_THROUGH : LOOKED_THROUGH + 1])
    if beyond:
        entries = entries.filter(pk__gt=beyond[0])
    # SQLite stores JSON with escapes, PostgreSQL without.
    texts = dict.fromkeys((text, json.dumps(text)[1:-1]))
    found = Q()
    for name in ("actor", "verb", "name", "target_id", "reason", "address"):
        found |= Q(**{f"{name}__icontains": text})
    for each in texts:
        found |= Q(_before__icontains=each) | Q(_after__icontains=each)
    return entries.alias(
        _before=Cast("before", TextField()), _after=Cast("after", TextField())
    ).filter(found)
