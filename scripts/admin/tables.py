"""The pages of reference tables: a new file, the first rows, and the versions."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from scripts.admin.base import (
    ConfigurationAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    links_to_scripts,
    preformatted,
)
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.site import register
from scripts.host.tables import TableFile
from scripts.models import ReferenceTable, Script, TableContent, TableVersion
from scripts.services.table_storing import ReadTable, file_of, format_of, restore, store_read
from scripts.services.tables import opened
from scripts.tables.directory import mapped
from scripts.tables.reading import TableInvalid
from scripts.templatetags.times import moment

PREVIEWED_ROWS = 10
# The characters of a row that a preview shows.
_LONGEST_ROW = 500
_FILE_HELP = (
    "CSV in UTF-8, whose first line names the columns, or JSON: an object by key or a list of"
    " objects. 50 MB at most."
)
_KEY_HELP = (
    "The column, or the member of each object in a list, that has the keys. Empty: the first"
    " column, or an object by key."
)


class TableForm(forms.ModelForm):
    file = forms.FileField(widget=UnfoldAdminFileFieldWidget, help_text=_FILE_HELP)
    key = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget, help_text=_KEY_HELP
    )
    # The file, read before the transaction of the page began; or why it is no table.
    read: ReadTable | TableInvalid | None = None

    class Meta:
        model = ReferenceTable
        fields = ("name", "description")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "file" in self.fields:
            self.fields["file"].required = False
            self.fields["file"].help_text = f"A new version. {_FILE_HELP}"
            latest = self.instance.latest()
            self.initial.setdefault("key", latest.content.key if latest else "")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if isinstance(self.read, TableInvalid):
            self.add_error("file", str(self.read))
        has_file = cleaned.get("file") or "file" in self.errors
        if self.instance.pk and "key" in self.changed_data and not has_file:
            self.add_error("key", "Choose the file, too: it is read anew with another key.")
        return cleaned


class TableVersionInline(ReadOnlyInline):
    model = TableVersion
    fields = ("version", "saved", "author", "rows", "size")
    readonly_fields = fields
    ordering = ("-number",)
    verbose_name_plural = "history"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TableVersion]:
        return with_rows_before(super().get_queryset(request))

    @admin.display(description="version")
    def version(self, version: TableVersion) -> str:
        return format_html(
            '<a class="text-link" href="{}">Version {}</a>', page_of(version), version.number
        )

    @admin.display(description="saved")
    def saved(self, version: TableVersion) -> str:
        return moment(version.created_at)

    @admin.display(description="rows")
    def rows(self, version: Any) -> str:
        return rows_beside_before(version)

    @admin.display(description="size")
    def size(self, version: TableVersion) -> str:
        return filesizeformat(version.content.size)


@register(ReferenceTable)
class ReferenceTableAdmin(ConfigurationAdmin):
    form = TableForm
    list_display = ("name", "description", "newest", "rows", "used_by")
    search_fields = ("name", "description")
    unshown_fields = ("file",)
    readonly_fields = ("newest", "scripts", "first_rows")
    inlines = (TableVersionInline,)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Read the file before Django begins a transaction, which would stop other writers."""
        may = self.has_change_permission(request) or self.has_add_permission(request)
        read = _read(request) if request.method == "POST" and may else None
        request.read_table = read  # type: ignore[attr-defined]
        try:
            return super().changeform_view(request, *args, **kwargs)
        finally:
            if isinstance(read, ReadTable):
                read.close()

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"read": getattr(request, "read_table", None)})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if isinstance(form.read, ReadTable):
            store_read(obj, form.read, request.user)

    def unshown_state(self, obj: ReferenceTable) -> str:
        latest = obj.latest()
        return str(latest.number if latest else 0)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Scripts read it by its name, so the name stays.
        return ("name", *self.readonly_fields) if obj else self.readonly_fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("name", "description", "file", "key")}),)
        new = ("file", "key") if self.has_change_permission(request, obj) else ()
        own = ("name", "description", *new, "newest", "scripts", "first_rows")
        return ((None, {"fields": own}),)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        deleted, counts, _, protected = super().get_deleted_objects(objs, request)
        users = [f"Script: {script}" for table in objs for script in table.scripts()]
        # Versions go with their table, without a right of their own.
        return deleted, counts, set(), [*protected, *users]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the scripts of all tables at once: a query for each would read all scripts."""
        page = super().get_changelist_instance(request)
        lists = Script.objects.values_list("tables", flat=True)
        uses = Counter(name for names in lists for name in set(names))
        for table in page.result_list:
            table.uses = uses[table.name]
        return page

    @admin.display(description="scripts")
    def used_by(self, table: Any) -> int:
        count: int = table.uses
        return count

    @admin.display(description="used by")
    def scripts(self, table: ReferenceTable) -> SafeString | str:
        return links_to_scripts(table.scripts())

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReferenceTable]:
        newest = TableVersion.objects.filter(table=OuterRef("pk")).order_by("-number")
        return (
            super()
            .get_queryset(request)
            .annotate(
                newest_number=Subquery(newest.values("number")[:1]),
                newest_at=Subquery(newest.values("created_at")[:1]),
                newest_rows=Subquery(newest.values("content__rows")[:1]),
            )
        )

    @admin.display(description="newest version")
    def newest(self, table: Any) -> str:
        if table.newest_number is None:
            return "no file yet"
        return format_html("Version {}, {}", table.newest_number, moment(table.newest_at))

    @admin.display(description="rows", ordering="newest_rows")
    def rows(self, table: Any) -> str:
        return "" if table.newest_rows is None else f"{table.newest_rows:,}"

    @admin.display(description="first rows")
    def first_rows(self, table: ReferenceTable) -> str:
        latest = table.latest()
        return first_rows(latest.content) if latest else "none"


@register(TableVersion)
class TableVersionAdmin(DetailActions, ReadOnlyAdmin):
    list_display = ("__str__", "saved", "author", "rows")
    search_fields = ("table__name",)
    fields = ("in_table", "saved", "author", "rows", "key", "digest", "file", "first_rows")
    readonly_fields = fields
    actions_detail = ("restore",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TableVersion]:
        return with_rows_before(super().get_queryset(request))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.download)
        name = "scripts_tableversion_file"
        return [path("<int:object_id>/file/", view, name=name), *super().get_urls()]

    def download(self, request: HttpRequest, object_id: int) -> StreamingHttpResponse:
        """Send the file as it was stored."""
        version = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_view_permission(request, version):
            raise PermissionDenied
        name = f"{version.table.name}-{version.number}.{version.content.format}"
        response = StreamingHttpResponse(
            file_of(version.content), content_type="application/octet-stream"
        )
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def has_restore_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.admin_site.get_model_admin(ReferenceTable).has_change_permission(request)

    def offered(self, obj: TableVersion) -> tuple[str, ...]:
        latest = obj.table.latest()
        return () if latest is None or latest.content_id == obj.content_id else ("restore",)

    @asking(
        dialog(
            "Restore {obj}?",
            "The table gets these rows back, as a new version. Workers see it within 5 s.",
            "Restore",
        ),
        description="Restore this version",
        icon="history",
        permissions=["restore"],
        variant=ActionVariant.PRIMARY,
    )
    def restore(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        version = get_object_or_404(self.get_queryset(request), pk=object_id)
        made = restore(version, request.user)
        note = f"Restored: version {made.number} is as version {version.number} was."
        self.message_user(request, note, messages.SUCCESS)
        return leave_dialog(reverse("admin:scripts_referencetable_change", args=[version.table_id]))

    @admin.display(description="table")
    def in_table(self, version: TableVersion) -> str:
        url = reverse("admin:scripts_referencetable_change", args=[version.table_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, version.table)

    @admin.display(description="saved", ordering="created_at")
    def saved(self, version: TableVersion) -> str:
        return moment(version.created_at)

    @admin.display(description="rows")
    def rows(self, version: Any) -> str:
        return rows_beside_before(version)

    @admin.display(description="key")
    def key(self, version: TableVersion) -> str:
        columns = version.content.columns
        return version.content.key or (columns[0] if columns else "the key of the object")

    @admin.display(description="SHA-256")
    def digest(self, version: TableVersion) -> str:
        return version.content.digest

    @admin.display(description="file")
    def file(self, version: TableVersion) -> str:
        url = reverse("admin:scripts_tableversion_file", args=[version.pk])
        size = filesizeformat(version.content.size)
        return format_html('<a class="text-link" href="{}">Download, {}</a>', url, size)

    @admin.display(description="first rows")
    def first_rows(self, version: TableVersion) -> str:
        return first_rows(version.content)


def with_rows_before(versions: QuerySet[TableVersion]) -> QuerySet[TableVersion]:
    """Add `rows_before`, those of the version before, None for the first one."""
    before = TableVersion.objects.filter(
        table=OuterRef("table"), number__lt=OuterRef("number")
    ).order_by("-number")
    return versions.select_related("author", "content", "table").annotate(
        rows_before=Subquery(before.values("content__rows")[:1])
    )


def rows_beside_before(version: Any) -> str:
    """Return the number of rows, and by how many it differs from the version before."""
    rows: int = version.content.rows
    change = 0 if version.rows_before is None else rows - version.rows_before
    return f"{rows:,} ({change:+,})" if change else f"{rows:,}"


def first_rows(content: TableContent) -> str:
    """Return the first rows as text, a line each."""
    file = TableFile(mapped(opened(content)))
    lines = [] if file.columns is None else [", ".join(file.columns)]
    for key, text, _ in islice(file.rows(), PREVIEWED_ROWS):
        if file.columns is None:
            line = f"{key}: {text.decode()}"
        else:
            line = ", ".join(json.loads(text))
        lines.append(line[:_LONGEST_ROW] + ("…" if len(line) > _LONGEST_ROW else ""))
    return preformatted("\n".join(lines))


def page_of(version: TableVersion) -> str:
    return reverse("admin:scripts_tableversion_change", args=[version.pk])


def _read(request: HttpRequest) -> ReadTable | TableInvalid | None:
    file = request.FILES.get("file")
    if file is None:
        return None
    try:
        key = request.POST.get("key", "").strip()
        return ReadTable(file.chunks(), format_of(str(file.name)), key)
    except TableInvalid as error:
        return error
