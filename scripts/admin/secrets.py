from __future__ import annotations

from collections import Counter
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminTextareaWidget

from scripts.admin.base import ConfigurationAdmin, links_to, use_by
from scripts.admin.site import register
from scripts.extensions import uses_of_secrets
from scripts.models import Script, Secret
from scripts.templatetags.times import moment


class WriteOnlyWidget(UnfoldAdminTextareaWidget):
    """An input for a text of several lines, shown as dots. The stored value is never sent back."""

    def __init__(self) -> None:
        super().__init__(
            attrs={
                "rows": 3,
                "autocomplete": "off",
                # Its form is not kept in the browser: drafts.js.
                "data-secret": "",
                "spellcheck": "false",
                "style": "-webkit-text-security: disc;",
            }
        )

    def format_value(self, value: Any) -> str:
        return ""


class SecretForm(forms.ModelForm):
    value = forms.CharField(
        strip=False,
        widget=WriteOnlyWidget,
        help_text="Stored encrypted and never shown again; scripts that may read it get it.",
    )

    class Meta:
        model = Secret
        fields = ("name", "description", "is_readable")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "value" in self.fields:
            self.fields["value"].required = False
            self.fields["value"].help_text = "Stored encrypted and not shown; empty: as it is."

    def save(self, commit: bool = True) -> Secret:
        if value := self.cleaned_data.get("value"):
            # A browser changes the line ends of a text.
            self.instance.set_value(value.replace("\r\n", "\n"))
        return super().save(commit)


@register(Secret)
class SecretAdmin(ConfigurationAdmin):
    form = SecretForm
    list_display = ("name", "description", "is_readable", "changed", "used_by")
    search_fields = ("name", "description")
    unshown_fields = ("value",)
    readonly_fields = ("changed", "users")
    fieldsets = (
        (
            None,
            {"fields": ("name", "description", "value", "is_readable", "changed", "users")},
        ),
    )

    @method_decorator(sensitive_post_parameters("value"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(*args, **kwargs)

    def unshown_state(self, obj: Secret) -> str:
        return obj.encrypted

    def get_readonly_fields(self, request: HttpRequest, obj: Secret | None = None) -> Any:
        if obj:
            # The users of it that are shown depend on the user who looks.
            obj.viewer = request.user  # type: ignore[attr-defined]
        # Scripts read it by its name, so the name stays.
        return ("name", *self.readonly_fields) if obj else self.readonly_fields

    def get_fieldsets(self, request: HttpRequest, obj: Secret | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("name", "description", "value", "is_readable")}),)
        if self.has_change_permission(request, obj):
            return self.fieldsets
        return ((None, {"fields": ("name", "description", "is_readable", "changed", "users")}),)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        deleted, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        users = [f"Script: {script}" for secret in objs for script in secret.scripts()]
        others = uses_of_secrets([secret.name for secret in objs], request.user)
        users += [capfirst(use.text) for _, use in others]
        return deleted, counts, perms_needed, [*protected, *users]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the users of all secrets at once: a query for each would read all scripts."""
        page = super().get_changelist_instance(request)
        lists = Script.objects.values_list("secrets", flat=True)
        uses = Counter(name for names in lists for name in set(names))
        names = [secret.name for secret in page.result_list]
        uses.update(name for name, _ in uses_of_secrets(names, request.user))
        for secret in page.result_list:
            secret.uses = uses[secret.name]
        return page

    @admin.display(description="value changed", ordering="changed_at")
    def changed(self, secret: Secret) -> SafeString:
        return moment(secret.changed_at)

    @admin.display(description="used by")
    def used_by(self, secret: Any) -> int:
        count: int = secret.uses
        return count

    @admin.display(description="used by")
    def users(self, secret: Any) -> SafeString | str:
        others = [use for _, use in uses_of_secrets([secret.name], secret.viewer)]
        return links_to([*map(use_by, secret.scripts()), *others]) or "nothing"
