from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminExpandableTextareaWidget

from scripts.admin.base import (
    FORMFIELDS,
    ConfigurationAdmin,
)
from scripts.admin.by_use import ChangedByUse, script_rights
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.durations import format_duration
from scripts.admin.editor import CodeField, EditorWidget
from scripts.admin.help_texts import CODE
from scripts.admin.json_fields import JsonSchemaField
from scripts.admin.script_fields import ScriptFields
from scripts.admin.site import register
from scripts.admin.trial_page import FIRST_CODE, TrialAdmin
from scripts.admin.versions import VersionInline, links_to_uses
from scripts.dotted_path import callables_are_on
from scripts.examination.faults import script_faults
from scripts.extensions import ScriptRights, impact_on, offers_of, upgrade_runs_of, uses_of
from scripts.grants import missing_to_save
from scripts.models import Language, Script

UPGRADED = "Runs that wait are moved to the new version; the audit log tells their number then."
CALLABLE_HELP = (
    "A callable's code is a dotted path in the project, for example myproject.steps.score. It runs"
    " without the sandbox."
)


class ScriptForm(ScriptFields):
    code = CodeField(widget=EditorWidget(mode_from="language"), help_text=CODE)
    # The user who saves it; None in a trial, which checks the user's grants itself.
    user: Any = None
    # Set for a user who edits by a right to what uses the script.
    by_use: ScriptRights | None = None

    class Meta:
        model = Script
        fields = "__all__"
        widgets = {"description": UnfoldAdminExpandableTextareaWidget()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.by_use is not None:
            self.offer_libraries_in_reach(self.by_use)
            self.offer_no_other_secrets()
            self.offer_no_other_tables()
        if "language" not in self.fields:
            return
        if callables_are_on() or self.instance.language == Language.CALLABLE:
            self.fields["language"].help_text = CALLABLE_HELP
        else:
            field: Any = self.fields["language"]
            field.choices = Language.of_code()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        language = self._value_of("language")
        # The model itself checks callables.
        if "code" in cleaned and language in dict(Language.of_code()):
            libraries = [(each.name, each.code) for each in self._value_of("libraries") or ()]
            for fault in script_faults(language, cleaned["code"], libraries):
                self.add_error("code", str(fault))
        return cleaned

    def _value_of(self, name: str) -> Any:
        """Return the value that is to be stored; a form of some fields leaves the others."""
        if name in self.fields:
            return self.cleaned_data.get(name)
        return getattr(self.instance, name)

    def _post_clean(self) -> None:
        super()._post_clean()
        for grant in missing_to_save(self.user, self.instance) if self.user else ():
            self.add_error(grant.field if grant.field in self.fields else None, str(grant))


@register(Script)
class ScriptAdmin(DeletionAdmin, TrialAdmin, ChangedByUse, ConfigurationAdmin):
    form = ScriptForm
    formfield_overrides = {**FORMFIELDS, models.JSONField: {"form_class": JsonSchemaField}}
    preformatted_fields = ("code",)
    list_display = ("name", "language", "limits", "network", "current_version")
    list_filter = (("language", ChoicesDropdownFilter), "network")
    search_fields = ("name", "description")
    # Grouped rows lose the order of the model, which the paged choice of scripts needs.
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": (("name", "language"), "description", "libraries", "used_by")}),
        ("Code", {"fields": ("code",)}),
        (
            "Parameters",
            {
                "fields": ("input_schema", "output_schema"),
                "description": "A payload that does not match is refused.",
                "classes": ("tab",),
            },
        ),
        (
            "Limits",
            {"fields": ("timeout", "memory_mb", "in_transaction"), "classes": ("tab",)},
        ),
        (
            "Outside",
            {
                "fields": (
                    "network",
                    "allowed_hosts",
                    "private_addresses",
                    "secrets",
                    "tables",
                ),
                "classes": ("tab",),
            },
        ),
    )
    readonly_fields = ("used_by",)
    inlines = (VersionInline,)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Script]:
        return super().get_queryset(request).annotate(latest=models.Max("versions__number"))

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        script = super().get_object(request, *args, **kwargs)
        if script is not None:
            # The uses that are shown depend on the user.
            script.viewer = request.user
        return script

    def deletion_of(self, request: HttpRequest, obj: Script) -> Deletion:
        # Steps of flows that the user may not view are without their names.
        uses = dict.fromkeys(f"It is used by {each.text}." for each in uses_of(obj, request.user))
        return Deletion(["Its versions stay, for runs that need them."], list(uses))

    def get_fieldsets(self, request: HttpRequest, obj: Script | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if callables_are_on() or (obj is not None and obj.language == Language.CALLABLE):
            return fieldsets
        return [(name, _without(options, "in_transaction")) for name, options in fieldsets]

    def impact_of(self, request: HttpRequest, obj: Any, changed: set[str], new: Any) -> Any:
        return impact_on(obj, changed, request.user)

    def upgrade_runs(self, request: HttpRequest, obj: Any) -> None:
        upgrade_runs_of(obj, request.user)
        self.message_user(request, UPGRADED, messages.INFO)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        by_use = None if _is_editor(request.user) else script_rights(request)
        return type(form.__name__, (form,), {"user": request.user, "by_use": by_use})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if script := context.get("original"):
            context["why_unchanged"] = self.why_unchanged(request, script)
            context["offers"] = offers_of(script, request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"code": FIRST_CODE["python"], **super().get_changeform_initial_data(request)}

    @admin.display(description="used by")
    def used_by(self, script: Any) -> str:
        return links_to_uses(script, script.viewer) if script.pk else "no flow yet"

    @admin.display(description="limits", ordering="timeout")
    def limits(self, script: Script) -> str:
        return f"{format_duration(script.timeout)}, {script.memory_mb} MB"

    @display(description="version", ordering="latest")
    def current_version(self, script: Any) -> str:
        return f"v{script.latest}"


def _is_editor(user: Any) -> bool:
    return any(user.has_perm(f"scripts.{verb}_script") for verb in ("add", "change"))


def _without(options: Any, field: str) -> dict[str, Any]:
    return {**options, "fields": tuple(each for each in options["fields"] if each != field)}
