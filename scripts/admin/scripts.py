from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from scripts.admin.base import (
    FORMFIELDS,
    ConfigurationAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    preformatted,
)
from scripts.admin.bench import BenchAdmin
from scripts.admin.durations import format_duration
from scripts.admin.editor import EditorWidget
from scripts.admin.json_fields import JsonSchemaField, indented
from scripts.faults import script_faults
from scripts.models import Script, ScriptVersion

FIRST_CODE = """\
def run(message, context):
    return message
"""


class ScriptForm(ModelForm):
    class Meta:
        model = Script
        fields = "__all__"  # noqa: DJ007  the admin's fieldsets choose
        widgets = {"code": EditorWidget(mode_from="language")}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "code" in cleaned and "language" in cleaned:
            for fault in script_faults(cleaned["language"], cleaned["code"]):
                self.add_error("code", str(fault))
        return cleaned


class VersionInline(ReadOnlyInline):
    model = ScriptVersion
    fields = ("version", "created_at", "author")
    readonly_fields = fields
    ordering = ("-number",)
    verbose_name_plural = "versions"

    @admin.display(description="version")
    def version(self, version: ScriptVersion) -> str:
        url = reverse("admin:scripts_scriptversion_change", args=[version.pk])
        return format_html('<a class="text-link" href="{}">Version {}</a>', url, version.number)


@admin.register(Script)
class ScriptAdmin(BenchAdmin, ConfigurationAdmin):
    form = ScriptForm
    formfield_overrides = {**FORMFIELDS, models.JSONField: {"form_class": JsonSchemaField}}
    preformatted_fields = ("code",)
    list_display = ("name", "language", "limits", "network", "current_version")
    list_filter = (("language", ChoicesDropdownFilter), "network")
    search_fields = ("name", "description")
    fieldsets = (
        (None, {"fields": (("name", "language"), "description")}),
        ("Code", {"fields": ("code",)}),
        (
            "Parameters",
            {
                "fields": ("input_schema", "output_schema"),
                "description": "A payload that does not match is refused.",
                "classes": ("tab",),
            },
        ),
        ("Limits", {"fields": ("timeout", "memory_mb", "network"), "classes": ("tab",)}),
    )
    inlines = (VersionInline,)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Script]:
        return super().get_queryset(request).annotate(latest=models.Max("versions__number"))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"code": FIRST_CODE, **super().get_changeform_initial_data(request)}

    @admin.display(description="limits", ordering="timeout")
    def limits(self, script: Script) -> str:
        return f"{format_duration(script.timeout)}, {script.memory_mb} MB"

    @display(description="version", ordering="latest")
    def current_version(self, script: Any) -> str:
        return f"v{script.latest}"

    def save_model(self, request: HttpRequest, obj: Script, form: Any, change: bool) -> None:
        known = obj.versions.count() if change else 0
        super().save_model(request, obj, form, change)
        # Saving made the version; who did it is known here alone.
        obj.versions.filter(number__gt=known, author=None).update(author=request.user)


@admin.register(ScriptVersion)
class ScriptVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "language", "created_at", "author")
    list_select_related = ("author",)
    search_fields = ("script_name",)
    fieldsets = (
        (None, {"fields": ("script", "number", "created_at", "author", "language")}),
        ("Code", {"fields": ("code_text",)}),
        ("Limits", {"fields": ("time_limit", "memory_mb", "network")}),
        ("Parameters", {"fields": ("input_parameters", "output_parameters")}),
    )

    @admin.display(description="code")
    def code_text(self, version: ScriptVersion) -> str:
        return preformatted(version.code)

    @admin.display(description="timeout")
    def time_limit(self, version: ScriptVersion) -> str:
        return format_duration(version.timeout)

    @admin.display(description="input schema")
    def input_parameters(self, version: ScriptVersion) -> str:
        return preformatted(indented(version.input_schema))

    @admin.display(description="output schema")
    def output_parameters(self, version: ScriptVersion) -> str:
        return preformatted(indented(version.output_schema))
