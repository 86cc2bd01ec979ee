"""The way from an object to its entries in the audit log."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest

register = template.Library()


@register.filter
def entries_in_audit_log(obj: Any, request: HttpRequest) -> str:
    """Return the address of the list of its entries; nothing where there are none to be seen."""
    # unfold loads the libraries of filters while its own admin is imported.
    from flows.admin.audit import KINDS
    from flows.admin.display import list_of
    from flows.models import AuditEntry
    from scripts.admin.site import site

    kind = next((kind for kind, model in KINDS.items() if model is type(obj)), None)
    if kind is None or not site.get_model_admin(AuditEntry).has_view_permission(request):
        return ""
    return list_of(AuditEntry, kind=kind, name__icontains=str(obj))
