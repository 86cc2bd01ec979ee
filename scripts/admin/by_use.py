"""Scripts for users without Django's permissions, by their rights to what uses the scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.http import HttpRequest

from scripts.extensions import ScriptRights, rights_to_scripts

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

SHARED = (
    "You may see this script, but not change it: it is also used by a flow that you may not"
    " configure."
)


def script_rights(request: Any) -> ScriptRights:
    """Return the rights of the request's user, read once a request."""
    if not hasattr(request, "script_rights"):
        request.script_rights = rights_to_scripts(request.user)
    rights: ScriptRights = request.script_rights
    return rights


class SeenByUse(Base):
    """For scripts and what belongs to them. Django's permission to view shows all rows."""

    # The field with the script's id.
    script_field = "pk"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        rights = script_rights(request)
        if rights.has_all or super().has_view_permission(request):
            return rows
        return rows.filter(**{f"{self.script_field}__in": rights.seen})

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_view_permission(request, obj):
            return True
        rights = script_rights(request)
        if obj is None:
            return rights.has_all or bool(rights.seen)
        return rights.may_see(self.script_of(obj))

    def script_of(self, obj: Any) -> int | None:
        """Return the id of the object's script; None if that was deleted."""
        script_id: int | None = obj.pk if self.script_field == "pk" else obj.script_id
        return script_id


class ChangedByUse(SeenByUse):
    """For scripts: what no other flow uses may be changed."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or script_rights(request).has_all

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_change_permission(request, obj):
            return True
        rights = script_rights(request)
        if obj is None:
            return rights.has_all or bool(rights.seen - rights.shared)
        return rights.may_change(obj.pk)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) or script_rights(request).has_all

    def why_unchanged(self, request: HttpRequest, script: Any) -> str:
        """Say why the user may see the script and not change it; "" for other reasons."""
        may_change = self.has_change_permission(request, script)
        return SHARED if not may_change and script_rights(request).is_shared(script.pk) else ""
