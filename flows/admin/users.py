"""Users, of any model that the project has. A class that the project registers itself stays."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.widgets import FilteredSelectMultiple
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from flows.access import audit
from flows.access.administrator import has_no_superuser_without
from flows.access.deleted_users import DEACTIVATE, rows_that_name
from flows.admin import rights_pages, see_as
from flows.admin.delegation import may_edit_user, permissions_to_give, roles_to_give
from flows.admin.deleted_rows import without_relations
from flows.admin.display import shown_time
from flows.admin.registering import replace_stock
from flows.admin.user_fields import FLAGS, GIVEN, UserFields
from flows.identity.users import is_external
from scripts.admin.bulk import bulk_action
from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.dialogs import asking, dialog, leave_dialog
from scripts.admin.help_texts import with_help
from scripts.admin.site import site

User: Any = get_user_model()
HELP = {
    "is_staff": "May log in to the Configuration Manager. What the user sees and does there depends"
    " on the roles. Without it, roles count in the API alone.",
    "is_superuser": "An administrator: everything is allowed, without any role.",
}
FIELDS = UserFields(User)
LAST_SUPERUSER = "This is the last active superuser: make another one first."


class UserForm(UserChangeForm):
    """Refuses to take from the last superuser what makes one."""

    def clean(self) -> Any:
        cleaned = super().clean()
        given = self.cleaned_data
        for name in ("is_superuser", "is_active"):
            if given.get(name, True):
                continue
            if has_no_superuser_without([self.instance]):
                self.add_error(name, LAST_SUPERUSER)
        return cleaned


def to_deactivate(
    model_admin: Any, request: HttpRequest, users: list[Any]
) -> tuple[list[Any], list[str]]:
    """Return those that the user may deactivate, and notes about the others."""
    chosen = [user for user in users if model_admin.has_change_permission(request, user)]
    notes = []
    if left_out := len(users) - len(chosen):
        notes.append(f"Left out, because they have permissions that you do not have: {left_out}.")
    if has_no_superuser_without(chosen):
        return [], [*notes, LAST_SUPERUSER]
    return chosen, notes


class UserAdmin(ConflictAdmin, DjangoUserAdmin, ModelAdmin):
    """Only superusers edit superusers; others give no more than they have: see `delegation`."""

    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    fieldsets = FIELDS.sections()
    add_fieldsets = FIELDS.sections_of_new()
    list_display = FIELDS.columns()
    list_filter = (
        *FIELDS.there(*FLAGS),
        *((name, RelatedDropdownFilter) for name in FIELDS.there("groups")),
    )
    search_fields = FIELDS.searched()
    ordering = (FIELDS.name,)
    filter_horizontal = FIELDS.there(*GIVEN)
    readonly_fields = (*FIELDS.shown_dates(), "shown_identities")
    actions = ("deactivate",) if FIELDS.there("is_active") else ()
    actions_detail = ("see_as", "give_profile")
    change_form_after_template = "admin/flows/rolemapping/of_user.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("groups")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_edit_user(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or may_edit_user(request.user, obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or not is_external(obj):
            return fieldsets
        return [*fieldsets, ("Identity provider", {"fields": ("shown_identities",)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field and db_field.name == "groups":
            field.label = "Roles"
            if isinstance(field.widget, FilteredSelectMultiple):
                # Its headings are "Available roles", "Chosen roles".
                field.widget.verbose_name = "roles"
            field.help_text = "The user has all rights and permissions of these roles."
            field.queryset = roles_to_give(request.user)
        elif field and db_field.name == "user_permissions":
            field.queryset = permissions_to_give(request.user).select_related("content_type")
        return field

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = with_help(db_field, super().formfield_for_dbfield(db_field, request, **kwargs))
        if field and db_field.name in HELP:
            field.help_text = HELP[db_field.name]
        return field

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if user := context.get("original"):
            context |= rights_pages.effective(request, user)
        return super().render_change_form(request, context, *args, **kwargs)

    def has_give_profile_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        user = None if object_id is None else self.get_object(request, str(object_id))
        return self.has_change_permission(request, user)

    @action(description="Give a profile", icon="badge", permissions=["give_profile"])
    def give_profile(self, request: HttpRequest, object_id: str) -> HttpResponse:
        query = urlencode({"user": object_id})
        return redirect(f"{reverse('admin:flows_rolemapping_profile')}?{query}")

    def has_see_as_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        user = None if object_id is None else self.get_object(request, str(object_id))
        return user is not None and see_as.may_see_as(request, user)

    @asking(
        dialog(
            "See the Configuration Manager as {obj}?",
            "You see the pages with this user's rights. Nothing can be changed meanwhile. A line on"
            " each page leads back.",
            "See as this user",
        ),
        description="See as this user",
        icon="visibility",
        permissions=["see_as"],
    )
    def see_as(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        see_as.begin(request, self.get_object(request, object_id))
        return leave_dialog(reverse("admin:index"))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        deleted, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        if has_no_superuser_without(objs):
            protected.append(LAST_SUPERUSER)
        for user in objs:
            for rows in rows_that_name(user):
                name = capfirst(str(rows.model._meta.verbose_name_plural))
                name = name.replace("Historical ", "Changes in the histories of ")
                protected.append(f"{name} that name {user}. {DEACTIVATE}")
        deleted = without_relations(deleted)
        return deleted, counts, perms_needed, protected

    @bulk_action(
        "Deactivate",
        "They cannot log in any more, and their API tokens are revoked.",
        to_deactivate,
        permissions=["change"],
        asks_reason=True,
        is_danger=True,
    )
    def deactivate(self, request: HttpRequest, users: list[Any], reason: str) -> None:
        with audit.acting(reason=reason):
            for user in users:
                user.is_active = False
                user.save(update_fields=["is_active"])
                self.log_change(request, user, "Deactivated.")
        self.message_user(request, f"Deactivated: {len(users)}.", messages.SUCCESS)

    @admin.display(description="logs in as")
    def shown_identities(self, user: Any) -> str:
        return ", ".join(map(str, user.external_identities.all()))

    @admin.display(description="last login")
    def shown_last_login(self, user: Any) -> SafeString | str:
        return shown_time(user.last_login) if user.last_login else "never"

    @admin.display(description="date joined")
    def shown_date_joined(self, user: Any) -> SafeString:
        return shown_time(user.date_joined)

    @admin.display(description="roles")
    def roles(self, user: Any) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all()))


def register() -> None:
    """Register the class, after every app of the project has registered its own."""
    if site.is_registered(User):
        replace_stock(User, UserAdmin, DjangoUserAdmin)
    else:
        # Django registers its own user model alone, and histories link to the page of a user.
        site.register(User, UserAdmin)
