"""The page that gives a profile to a role or to a user."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldBooleanSwitchWidget,
)

from flows.access.profiles import (
    EVERY_FLOW,
    MEANS,
    RIGHTS_OF,
    Profile,
    make_role,
    role_with,
    set_rights,
)
from flows.access.rights import flows_allowed
from flows.admin.delegation import NOT_OWN_RIGHT, may_give_mapping
from flows.admin.display import page_of
from flows.admin.user_fields import UserFields
from flows.models import Flow, Right, RoleMapping
from scripts.admin.site import site

NO_RIGHTS = "none"
NO_ROLE = "There is no role with this profile for {}, and you may not make one."


class ProfileForm(forms.Form):
    """Gives a profile to `target`, a role or a user."""

    profile = forms.ChoiceField(widget=UnfoldAdminRadioSelectWidget)
    flows = forms.MultipleChoiceField(required=False, widget=UnfoldAdminSelect2MultipleWidget)
    may_enter = forms.BooleanField(
        label="May enter the Configuration Manager",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="The switch “staff” of the user. Without it the rights count in the API alone.",
    )

    def __init__(self, data: Any, request: HttpRequest, target: Any) -> None:
        super().__init__(data)
        self.giver: Any = request.user
        self.request, self.target = request, target
        self.known = {str(flow.pk): flow for flow in flows_allowed(self.giver, Right.values)}
        fields: Any = self.fields
        fields["flows"].choices = [
            ("*", EVERY_FLOW),
            *((pk, flow.name) for pk, flow in self.known.items()),
        ]
        fields["profile"].choices = [(each, _described(each)) for each in self.offered()]
        if self.is_role:
            fields["profile"].choices.append((NO_RIGHTS, "None: takes the rights away"))
        if self.is_role or not UserFields(type(target)).there("is_staff"):
            del fields["may_enter"]

    @property
    def is_role(self) -> bool:
        return isinstance(self.target, Group)

    def offered(self) -> list[Profile]:
        is_offered = self.giver.is_superuser and not self.is_role
        return [each for each in Profile if each != Profile.ADMINISTRATOR or is_offered]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors or cleaned["profile"] == Profile.ADMINISTRATOR:
            return cleaned
        if not cleaned["flows"]:
            self.add_error("flows", "Choose the flows, or every flow.")
        elif not all(self._may_set(flow) for flow in self.chosen()):
            self.add_error(None, NOT_OWN_RIGHT)
        elif not self.is_role and not self._may_make_roles():
            for flow in self.chosen():
                if role_with(cleaned["profile"], flow) is None:
                    self.add_error(None, NO_ROLE.format(flow or EVERY_FLOW))
        return cleaned

    def chosen(self) -> list[Flow | None]:
        keys = self.cleaned_data["flows"]
        return [None if key == "*" else self.known[key] for key in keys]

    def _may_set(self, flow: Flow | None) -> bool:
        changed = set(RIGHTS_OF.get(self.cleaned_data["profile"], ()))
        if self.is_role:
            present = self.target.role_mappings.filter(flow=flow).values_list("right", flat=True)
            changed ^= set(present)
        pk = flow.pk if flow else None
        return all(may_give_mapping(self.giver, right, pk) for right in changed)

    def _may_make_roles(self) -> bool:
        return all(
            site.is_registered(model)
            and site.get_model_admin(model).has_add_permission(self.request)
            for model in (Group, RoleMapping)
        )

    @transaction.atomic
    def save(self) -> str:
        """Give the profile and return a sentence about it."""
        profile = self.cleaned_data["profile"]
        if self.is_role:
            for flow in self.chosen():
                set_rights(self.target, flow, RIGHTS_OF.get(profile, frozenset()))
            return f"{self.target} is {profile} of {self._names()}."
        if profile == Profile.ADMINISTRATOR:
            self.target.is_superuser = self.target.is_staff = True
            self.target.save(update_fields=["is_superuser", "is_staff"])
            return f"{self.target} is an administrator."
        for flow in self.chosen():
            self.target.groups.add(role_with(profile, flow) or make_role(profile, flow))
        if self.cleaned_data.get("may_enter") and not self.target.is_staff:
            self.target.is_staff = True
            self.target.save(update_fields=["is_staff"])
        return f"{self.target} is {profile} of {self._names()}."

    def _names(self) -> str:
        return ", ".join(flow.name if flow else EVERY_FLOW for flow in self.chosen())


def give_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    target = _target(request)
    form = ProfileForm(request.POST or None, request, target)
    if form.is_valid():
        note = form.save()
        site.get_model_admin(type(target)).log_change(request, target, note)
        messages.success(request, note)
        return redirect(page_of(target))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Profile of {target}",
        "card_title": f"Give {target} a profile",
        "opts": target._meta,
        "original": target,
        "verb": "Give the profile",
        "form": form,
        "is_role": form.is_role,
        "back_url": page_of(target),
    }
    return TemplateResponse(request, "admin/flows/rolemapping/profile.html", context)


def _target(request: HttpRequest) -> Any:
    """Return the role or user of the address, if the request's user may change it."""
    model: Any = Group if "role" in request.GET else get_user_model()
    key = request.GET.get("role") or request.GET.get("user")
    if not key or not site.is_registered(model):
        raise Http404
    model_admin: Any = site.get_model_admin(model)
    target = model_admin.get_object(request, key)
    if target is None:
        raise Http404
    if not model_admin.has_change_permission(request, target):
        raise PermissionDenied
    mappings = site.get_model_admin(RoleMapping)
    may_map = mappings.has_add_permission(request) and mappings.has_delete_permission(request)
    if model is Group and not may_map:
        raise PermissionDenied
    return target


def _described(profile: Profile) -> str:
    return format_html("{}: {}", profile.label, MEANS[profile])
