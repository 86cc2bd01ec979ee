"""A role is a Django group. Its mappings give its members rights to flows."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Count, Prefetch, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display

from flows.access.rights import flows_allowed
from flows.admin import rights_pages
from flows.admin.by_role import mappings_seen, may_view, rights_of
from flows.admin.delegation import (
    NOT_OWN_RIGHT,
    may_give_mapping,
    may_give_role,
    permissions_to_give,
)
from flows.admin.deleted_rows import without_relations
from flows.admin.filters import FlowOfRowFilter
from flows.admin.registering import replace_stock
from flows.admin.rows import DistinctRowForm, DistinctRows
from flows.admin.user_fields import ADVANCED, ADVANCED_HELP
from flows.models import Right, RoleMapping
from flows.models.users import all_users, members, user_name_field
from scripts.admin.base import ConfigurationAdmin, PlainInline
from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.help_texts import with_help
from scripts.admin.site import register

MOST_NAMES = 20
REPEATED = "The role has this right already."


class RoleMappingForm(DistinctRowForm):
    violation = ("right", REPEATED)
    # The user who saves the mapping.
    giver: Any
    # By the field: what all rows of a page may choose, which is asked for once.
    asked: dict[str, Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        flow = self.fields.get("flow")
        if isinstance(flow, ModelChoiceField):
            flow.empty_label = "every flow"
            flow.queryset = flows_allowed(self.giver, Right.values)
        if self.asked is not None:
            for name, field in self.fields.items():
                if isinstance(field, ModelChoiceField):
                    if name not in self.asked:
                        choices: Any = field.choices
                        self.asked[name] = [*choices]
                    field.choices = self.asked[name]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.may_be_given():
            self.add_error("right" if "right" in self.fields else None, NOT_OWN_RIGHT)

    def may_be_given(self) -> bool:
        """Say whether the user has the right that is stored and the right that is to be stored.

        It reads the stored one: on a page of the history the form begins with an earlier state.
        """
        mapping = self.instance
        before = set(RoleMapping.objects.filter(pk=mapping.pk).values_list("role", "right", "flow"))
        after = (mapping.role_id, mapping.right, mapping.flow_id)
        if before == {after} and not self.data.get(f"{self.prefix}-DELETE"):
            return True
        given = {*before, after}
        return all(may_give_mapping(self.giver, right, flow_id) for _, right, flow_id in given)


class Mappings(DistinctRows):
    def clean(self) -> None:
        super().clean()
        if any(not form.may_be_given() for form in self.deleted_forms):
            raise ValidationError(NOT_OWN_RIGHT)


class RoleMappingInline(PlainInline):
    model = RoleMapping
    form = RoleMappingForm
    extra = 0

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        form = type("RoleMappingForm", (self.form,), {"giver": request.user, "asked": {}})
        return super().get_formset(request, obj, form=form, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RoleMapping]:
        return mappings_seen(request, super().get_queryset(request))


class MappingsOfRole(Mappings):
    distinct = ((("right", "flow"), REPEATED),)


class MappingsOfRoleInline(RoleMappingInline):
    formset = MappingsOfRole
    fields = ("right", "flow")


class MappingsOfFlow(Mappings):
    distinct = ((("role", "right"), REPEATED),)


class MappingsOfFlowInline(RoleMappingInline):
    formset = MappingsOfFlow
    fields = ("role", "right")
    tab = True


@register(RoleMapping)
class RoleMappingAdmin(ConfigurationAdmin):
    form = RoleMappingForm
    list_display = ("role", "right_label", "flow_name")
    list_filter = (
        ("role", RelatedDropdownFilter),
        ("right", ChoicesDropdownFilter),
        ("flow", FlowOfRowFilter),
    )
    list_select_related = ("role", "flow")
    search_fields = ("role__name", "flow__name")
    fields = ("role", "right", "flow")

    def get_urls(self) -> list[URLPattern]:
        return [*rights_pages.urls(self), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RoleMapping]:
        return mappings_seen(request, super().get_queryset(request))

    def has_view_permission(self, request: HttpRequest, obj: RoleMapping | None = None) -> bool:
        allowed = super().has_view_permission(request, obj)
        if obj is None or rights_of(request)[None]:
            return allowed
        return allowed and self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_view_history_or_change_history_permission(
        self, request: HttpRequest, obj: RoleMapping | None = None
    ) -> bool:
        # Its history may name a flow that the user does not see.
        allowed = super().has_view_history_or_change_history_permission(request, obj)
        return allowed and bool(rights_of(request)[None])

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"giver": request.user})

    def has_change_permission(self, request: HttpRequest, obj: RoleMapping | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or self._may_give(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: RoleMapping | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or self._may_give(request, obj))

    def _may_give(self, request: HttpRequest, mapping: RoleMapping) -> bool:
        return may_give_mapping(request.user, mapping.right, mapping.flow_id)

    @display(
        description="right",
        ordering="right",
        label={
            Right.START.value: "info",
            Right.WATCH.value: "success",
            Right.OPERATE.value: "warning",
            Right.CONFIGURE.value: "primary",
        },
    )
    def right_label(self, mapping: RoleMapping) -> str:
        return mapping.right

    @admin.display(description="flow", ordering="flow__name")
    def flow_name(self, mapping: RoleMapping) -> str:
        return mapping.flow.name if mapping.flow else "every flow"


class RoleAdmin(ConflictAdmin, GroupAdmin, ModelAdmin):
    list_display = ("name", "rights", "members")
    inlines = (MappingsOfRoleInline,)
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            ADVANCED,
            {
                "fields": ("permissions",),
                "classes": ("collapse",),
                "description": ADVANCED_HELP,
            },
        ),
    )
    actions_detail = ("give_profile",)
    actions_list = ("matrix",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        mappings = mappings_seen(request, RoleMapping.objects.select_related("flow"))
        seen = Prefetch("role_mappings", mappings, to_attr="seen_mappings")
        groups = super().get_queryset(request).prefetch_related(seen)
        return groups.annotate(member_count=Count(members()))

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_give_role(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or may_give_role(request.user, obj))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        deleted, *rest = super().get_deleted_objects(objs, request)
        losers = [text for role in objs if (text := users_who_lose(role))]
        deleted = without_relations(deleted)
        return [*deleted, *losers], *rest

    def has_give_profile_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        role = None if object_id is None else self.get_object(request, str(object_id))
        return self.has_change_permission(request, role)

    @action(description="Give a profile", icon="badge", permissions=["give_profile"])
    def give_profile(self, request: HttpRequest, object_id: str) -> HttpResponse:
        query = urlencode({"role": object_id})
        return redirect(f"{reverse('admin:flows_rolemapping_profile')}?{query}")

    def has_matrix_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_view(request, RoleMapping)

    @action(description="Matrix of rights", icon="grid_on", permissions=["matrix"])
    def matrix(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:flows_rolemapping_matrix")

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        return with_help(db_field, super().formfield_for_dbfield(db_field, request, **kwargs))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:  # type: ignore[override]
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field and db_field.name == "permissions":
            field.queryset = permissions_to_give(request.user).select_related("content_type")
        return field

    @admin.display(description="rights")
    def rights(self, group: Any) -> str:
        texts = [f"{each.right} {each.flow or 'every flow'}" for each in group.seen_mappings]
        return ", ".join(texts[:5]) + (" …" if len(texts) > 5 else "")

    @admin.display(description="members", ordering="member_count")
    def members(self, group: Group) -> int:
        return group.member_count  # type: ignore[attr-defined]


def users_who_lose(role: Group) -> str:
    """Say which users have the role, a few of them by name."""
    users = all_users().filter(groups=role.pk).order_by(user_name_field())
    count = users.count()
    if not count:
        return ""
    names = [user.get_username() for user in users[:MOST_NAMES]]
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return f"Users who lose the role {role}: {', '.join(names)}{more}"


replace_stock(Group, RoleAdmin, GroupAdmin)
