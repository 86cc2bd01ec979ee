"""Says what a deletion touches before it is made, and offers to deactivate instead.

Django's page lists every row that would go or that is in the way, a million messages included.
These pages show counts, and say what becomes of what stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.text import capfirst

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

DEACTIVATE = "_deactivate"


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion touches, and the reasons against it: sentences."""

    facts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    # The names of what the user would need a permission for.
    permissions: set[str] = field(default_factory=set)


class DeletionAdmin(Base):
    delete_confirmation_template = "admin/deletion.html"
    # The field that an inactive object has off, where there is one.
    active_field = ""

    def deletion_of(self, request: HttpRequest, obj: Any) -> Deletion:
        """Return what the deletion of the object touches. It reads no long list of rows."""
        raise NotImplementedError

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        shown: list[Any] = []
        refusals: list[str] = []
        permissions: set[str] = set()
        for obj in objs:
            found = self.deletion_of(request, obj)
            shown += [f"{capfirst(self.opts.verbose_name)}: {obj}", found.facts]
            refusals += found.refusals
            permissions |= found.permissions
            if not self.has_delete_permission(request, obj):
                permissions.add(str(self.opts.verbose_name))
        counts = {self.opts.verbose_name_plural: len(objs)}
        return shown, counts, permissions, refusals

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_delete_permission(request, obj):
            return super().delete_view(request, object_id, extra_context)
        may_deactivate = self._may_deactivate(request, obj)
        if request.method == "POST" and DEACTIVATE in request.POST and may_deactivate:
            return self._deactivated(request, obj)
        context = {
            "deletion": self.deletion_of(request, obj),
            "may_deactivate": may_deactivate,
            "back_url": self._page_of(obj),
        }
        return super().delete_view(request, object_id, {**context, **(extra_context or {})})

    def _may_deactivate(self, request: HttpRequest, obj: Any) -> bool:
        is_active = bool(self.active_field and getattr(obj, self.active_field))
        return is_active and self.has_change_permission(request, obj)

    def _deactivated(self, request: HttpRequest, obj: Any) -> HttpResponse:
        setattr(obj, self.active_field, False)
        obj.save(update_fields=[self.active_field])
        self.log_change(request, obj, "Deactivated.")
        self.message_user(request, f"{obj} is inactive.", messages.SUCCESS)
        return redirect(self._page_of(obj))

    def _page_of(self, obj: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[obj.pk])
