from __future__ import annotations

from django.contrib import admin

from scripts.admin.base import ReadOnlyAdmin
from scripts.models import TrialRecord
from scripts.templatetags.times import moment


@admin.register(TrialRecord)
class TrialRecordAdmin(ReadOnlyAdmin):
    list_display = ("tried", "user_name", "script_name", "read", "called", "digest")
    search_fields = ("user_name", "script_name", "code_digest")
    fields = (
        "tried",
        "user_name",
        "script",
        "script_name",
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
