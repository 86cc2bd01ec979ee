from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from scripts.admin.base import ConfigurationAdmin, links_to_scripts
from scripts.admin.editor import CodeField, EditorWidget
from scripts.admin.help_texts import CODE
from scripts.admin.site import register
from scripts.grants import scripts_out_of_reach
from scripts.models import Library


class LibraryForm(ModelForm):
    # The user who saves it.
    user: Any
    code = CodeField(widget=EditorWidget(mode_from="language"), help_text=CODE)

    class Meta:
        model = Library
        fields = ("name", "language", "code")
        help_texts = {"name": "In Python, scripts import it by this name."}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if scripts := scripts_out_of_reach(self.user, self.instance):
            names = ", ".join(map(str, scripts))
            self.add_error(
                "code" if "code" in self.fields else None,
                f"Scripts that use it read secrets or call hosts for which you have no permission:"
                f" {names}.",
            )


@register(Library)
class LibraryAdmin(ConfigurationAdmin):
    form = LibraryForm
    preformatted_fields = ("code",)
    list_display = ("name", "language", "used_by")
    list_filter = (("language", ChoicesDropdownFilter),)
    search_fields = ("name",)
    readonly_fields = ("scripts",)
    fieldsets = (
        (None, {"fields": ("name", "language", "scripts")}),
        ("Code", {"fields": ("code",)}),
    )

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Library]:
        return super().get_queryset(request).annotate(use_count=models.Count("uses"))

    @admin.display(description="scripts", ordering="use_count")
    def used_by(self, library: Any) -> int:
        return library.use_count

    @admin.display(description="used by")
    def scripts(self, library: Library) -> SafeString | str:
        return links_to_scripts(library.scripts()) if library.pk else "no script"
