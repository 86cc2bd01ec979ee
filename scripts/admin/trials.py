from __future__ import annotations

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.site import register
from scripts.models import TrialRecord
from scripts.templatetags.times import moment


@register(TrialRecord)
class TrialRecordAdmin(ReadOnlyAdmin):
    list_display = ("tried", "user_name", "script_name", "read", "called", "digest")
    search_fields = ("user_name", "script_name", "code_digest")
    fields = (
        "tried",
        "user_name",
        "script_then",
        "code_digest",
        "might_read",
        "read",
        "might_call",
        "private_addresses",
        "called",
    )
    readonly_fields = fields

    @admin.display(description="tried at", ordering="id")
    def tried(self, record: TrialRecord) -> str:
        return moment(record.created_at)

    @admin.display(description="script")
    def script_then(self, record: TrialRecord) -> SafeString | str:
        """Return its name at that time, with a link to the script where it is still there."""
        if record.script_id is None:
            return record.script_name
        url = reverse("admin:scripts_script_change", args=[record.script_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, record.script_name)

    @admin.display(description="code")
    def digest(self, record: TrialRecord) -> str:
        return record.code_digest[:12]

    @admin.display(description="secrets it might read")
    def might_read(self, record: TrialRecord) -> str:
        return _named(record.secrets)

    @admin.display(description="secrets it read")
    def read(self, record: TrialRecord) -> str:
        return _named(record.secrets_read)

    @admin.display(description="hosts it might call")
    def might_call(self, record: TrialRecord) -> str:
        return _named(record.hosts)

    @admin.display(description="hosts it called")
    def called(self, record: TrialRecord) -> str:
        return _named(record.hosts_called)


def _named(names: list[str]) -> str:
    return ", ".join(names) or "none"
