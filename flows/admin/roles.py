"""A role is a Django group; its mappings say what its members may do with which flow."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import display

from flows.admin.rows import DistinctRowForm, DistinctRows
from flows.models import Right, RoleMapping
from scripts.admin.base import ConfigurationAdmin

REPEATED = "The role has this right already."

# One word for one thing: the Configuration Manager calls a group a role. Migrations do not look
# at these two.
Group._meta.verbose_name = "role"
Group._meta.verbose_name_plural = "roles"


class RoleMappingForm(DistinctRowForm):
    violation = ("right", REPEATED)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        flow = self.fields.get("flow")
        if isinstance(flow, ModelChoiceField):
            flow.empty_label = "every flow"


class RoleMappingInline(TabularInline):
    model = RoleMapping
    form = RoleMappingForm
    extra = 0
    hide_title = True


class MappingsOfRole(DistinctRows):
    distinct = ((("right", "flow"), REPEATED),)


class MappingsOfRoleInline(RoleMappingInline):
    formset = MappingsOfRole
    fields = ("right", "flow")


class MappingsOfFlow(DistinctRows):
    distinct = ((("role", "right"), REPEATED),)


class MappingsOfFlowInline(RoleMappingInline):
    formset = MappingsOfFlow
    fields = ("role", "right")
    tab = True


@admin.register(RoleMapping)
class RoleMappingAdmin(ConfigurationAdmin):
    form = RoleMappingForm
    list_display = ("role", "right_label", "flow_name")
    list_filter = (
        ("role", RelatedDropdownFilter),
        ("right", ChoicesDropdownFilter),
        ("flow", RelatedDropdownFilter),
    )
    list_select_related = ("role", "flow")
    search_fields = ("role__name", "flow__name")
    fields = ("role", "right", "flow")

    @display(
        description="right",
        ordering="right",
        label={Right.START.value: "info", Right.WATCH.value: "success", Right.OPERATE: "warning"},
    )
    def right_label(self, mapping: RoleMapping) -> str:
        return mapping.right

    @admin.display(description="flow", ordering="flow__name")
    def flow_name(self, mapping: RoleMapping) -> str:
        return mapping.flow.name if mapping.flow else "every flow"


admin.site.unregister(Group)


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):
    list_display = ("name", "rights", "members")
    inlines = (MappingsOfRoleInline,)
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            "Permissions in the Configuration Manager",
            {"fields": ("permissions",), "classes": ("collapse",)},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        groups = super().get_queryset(request).prefetch_related("role_mappings__flow")
        return groups.annotate(member_count=Count("user"))

    @admin.display(description="rights")
    def rights(self, group: Group) -> str:
        texts = [f"{each.right} {each.flow or 'every flow'}" for each in _mappings(group)]
        return ", ".join(texts[:5]) + (" …" if len(texts) > 5 else "")

    @admin.display(description="members", ordering="member_count")
    def members(self, group: Group) -> int:
        return group.member_count  # type: ignore[attr-defined]


def _mappings(group: Group) -> list[RoleMapping]:
    return list(group.role_mappings.all())
