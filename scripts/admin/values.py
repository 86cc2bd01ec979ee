from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from scripts.admin.base import ConfigurationAdmin
from scripts.admin.site import register
from scripts.models import ConfigurationValue


@register(ConfigurationValue)
class ConfigurationValueAdmin(ConfigurationAdmin):
    list_display = ("name", "value", "description")
    search_fields = ("name", "value", "description")
    fieldsets = ((None, {"fields": ("name", "value", "description")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Scripts read it by its name, so the name stays.
        return ("name", *self.readonly_fields) if obj else self.readonly_fields
