"""The versions of a script, their differences, and the action that restores one."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.enums import ActionVariant

from scripts.admin.base import ReadOnlyAdmin, ReadOnlyInline, links_to, preformatted
from scripts.admin.by_use import SeenByUse
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.diff import Diff, TimeLeft, diff
from scripts.admin.durations import format_duration
from scripts.admin.json_fields import indented
from scripts.admin.site import register
from scripts.extensions import uses_of
from scripts.grants import beyond_reach, missing_to_try
from scripts.models import Script, ScriptVersion
from scripts.templatetags.times import moment

# The versions to compare with; the list of versions has all.
MOST_CHOICES = 50
# The length of a summary in a list. A longer one is replaced by a note that there are changes.
LONGEST_SUMMED_UP = 200_000
# The most seconds for all comparisons of a history together.
HISTORY_SECONDS = 1.0


class VersionInline(ReadOnlyInline):
    model = ScriptVersion
    fields = ("version", "saved", "author", "changes")
    readonly_fields = fields
    ordering = ("-number",)
    verbose_name_plural = "history"
    template_after = "admin/scripts/script/history.html"
    time_left: TimeLeft | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScriptVersion]:
        return super().get_queryset(request).select_related("author")

    @admin.display(description="version")
    def version(self, version: ScriptVersion) -> str:
        url = reverse("admin:scripts_scriptversion_change", args=[version.pk])
        return format_html('<a class="text-link" href="{}">Version {}</a>', url, version.number)

    @admin.display(description="saved")
    def saved(self, version: ScriptVersion) -> str:
        return moment(version.created_at)

    @admin.display(description="changes")
    def changes(self, version: ScriptVersion) -> str:
        before = version_before(version)
        if before is None:
            return "first version"
        if len(before.code) + len(version.code) > LONGEST_SUMMED_UP:
            return "yes"
        # An inline is created for each request.
        if self.time_left is None:
            self.time_left = TimeLeft(HISTORY_SECONDS)
        return str(diff(before.content(), version.content(), self.time_left))


@register(ScriptVersion)
class ScriptVersionAdmin(DetailActions, SeenByUse, ReadOnlyAdmin):
    list_display = ("__str__", "language", "saved", "author")
    list_select_related = ("author",)
    search_fields = ("script_name",)
    change_form_before_template = "admin/scripts/scriptversion/changes.html"
    fieldsets = (
        (None, {"fields": ("script", "language", "used_by")}),
        ("Code", {"fields": ("code_text", "library_texts")}),
        ("Limits", {"fields": ("time_limit", "memory_mb", "in_transaction")}),
        (
            "Reach",
            {"fields": ("network", "hosts", "private_addresses", "secret_names", "table_names")},
        ),
        ("Parameters", {"fields": ("input_parameters", "output_parameters")}),
    )
    actions_detail = ("restore",)
    script_field = "script"

    @admin.display(description="saved", ordering="created_at")
    def saved(self, version: ScriptVersion) -> str:
        return moment(version.created_at)

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        version = super().get_object(request, *args, **kwargs)
        if version is not None:
            # The uses that are shown depend on the user.
            version.viewer = request.user
        return version

    def has_restore_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        scripts = self.admin_site.get_model_admin(Script)
        if object_id is None:
            return scripts.has_change_permission(request)
        version = self.get_object(request, str(object_id))
        return version is not None and scripts.has_change_permission(request, version.script)

    def offered(self, obj: ScriptVersion) -> tuple[str, ...]:
        return () if obj.script is None or is_current(obj) else ("restore",)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        version = context["original"]
        other = version_to_compare(version, request.GET.get("against", ""))
        context |= {
            "others": versions_beside(version),
            "other": other,
            "diff": changes_between(version, other),
            "is_current": is_current(version),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="used by")
    def used_by(self, version: Any) -> str:
        if version.script is None:
            return "nothing any more: its script was removed"
        if not is_current(version):
            return "runs that started with it; new ones take the newest version"
        return links_to_uses(version.script, version.viewer)

    @admin.display(description="code")
    def code_text(self, version: ScriptVersion) -> str:
        return preformatted(version.code)

    @admin.display(description="libraries")
    def library_texts(self, version: ScriptVersion) -> str:
        texts = ((each["name"], preformatted(each["code"])) for each in version.libraries)
        return format_html_join("", "<p>{}</p>{}", texts) or "none"

    @admin.display(description="allowed hosts")
    def hosts(self, version: ScriptVersion) -> str:
        if not version.network:
            return "none: the network is off"
        return ", ".join(version.allowed_hosts) or "every public one"

    @admin.display(description="secrets")
    def secret_names(self, version: ScriptVersion) -> str:
        return ", ".join(version.secrets) or "none"

    @admin.display(description="tables")
    def table_names(self, version: ScriptVersion) -> str:
        return ", ".join(version.tables) or "none"

    @admin.display(description="timeout")
    def time_limit(self, version: ScriptVersion) -> str:
        return format_duration(version.timeout)

    @admin.display(description="input schema")
    def input_parameters(self, version: ScriptVersion) -> str:
        return preformatted(indented(version.input_schema))

    @admin.display(description="output schema")
    def output_parameters(self, version: ScriptVersion) -> str:
        return preformatted(indented(version.output_schema))

    @asking(
        dialog(
            "Restore {obj}?",
            "The script gets its content back, as a new version. Runs that are under way keep"
            " theirs.",
            "Restore",
        ),
        description="Restore this version",
        icon="history",
        permissions=["restore"],
        variant=ActionVariant.PRIMARY,
    )
    def restore(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        version = get_object_or_404(self.get_queryset(request), pk=object_id)
        beyond = beyond_reach(request.user, version, version.script)
        if missing := [*missing_to_try(request.user, version), *beyond]:
            self.message_user(request, f"Not restored. {missing[0]}", messages.ERROR)
            return leave_dialog(page_of(version))
        try:
            restored = version.restore()
        except Script.DoesNotExist:
            self.message_user(request, "Its script was removed.", messages.ERROR)
            return leave_dialog(page_of(version))
        except ValidationError as error:
            note = f"Not restored. {' '.join(error.messages)}"
            self.message_user(request, note, messages.ERROR)
            return leave_dialog(page_of(version))
        note = f"Restored: version {restored.number} is as version {version.number} was."
        self.message_user(request, note, messages.SUCCESS)
        return leave_dialog(reverse("admin:scripts_script_change", args=[restored.script_id]))


def links_to_uses(script: Script, viewer: Any) -> str:
    return links_to(uses_of(script, viewer)) or "no flow"


def is_current(version: ScriptVersion) -> bool:
    newer = ScriptVersion.objects.filter(script=version.script_id, number__gt=version.number)
    return version.script_id is not None and not newer.exists()


def versions_beside(version: ScriptVersion) -> QuerySet[ScriptVersion]:
    """Return the newest other versions of the script, without their content."""
    others = ScriptVersion.objects.filter(script=version.script_id).exclude(pk=version.pk)
    if version.script_id is None:
        return others.none()
    return (
        others.select_related("author")
        .only("number", "created_at", "author", "script_name")
        .order_by("-number")[:MOST_CHOICES]
    )


def version_before(version: ScriptVersion) -> ScriptVersion | None:
    if version.script_id is None:
        return None
    earlier = ScriptVersion.objects.filter(script=version.script_id, number__lt=version.number)
    return earlier.order_by("number").last()


def version_to_compare(version: ScriptVersion, number: str) -> ScriptVersion | None:
    """Return the version of this number; else the one before, and for the first one the newest."""
    others = ScriptVersion.objects.filter(script=version.script_id).exclude(pk=version.pk)
    if version.script_id is None:
        return None
    chosen = others.filter(number=number).first() if re.fullmatch("[0-9]{1,9}", number) else None
    return chosen or version_before(version) or others.order_by("number").last()


def changes_between(version: ScriptVersion, other: ScriptVersion | None) -> Diff | None:
    """Return the changes from the earlier of the two to the later one."""
    if other is None:
        return None
    first, second = sorted((version, other), key=lambda each: each.number)
    return diff(first.content(), second.content())


def page_of(version: ScriptVersion) -> str:
    return reverse("admin:scripts_scriptversion_change", args=[version.pk])
