"""Checks a project's own user model."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import FieldDoesNotExist

from scripts.checks import ENGINE


@register(ENGINE)
def users_can_have_roles(**kwargs: Any) -> list[CheckMessage]:
    return faults_of(get_user_model())


def faults_of(model: Any) -> list[CheckMessage]:
    missing = [
        name
        for name, target in (("groups", Group), ("user_permissions", Permission))
        if not _leads_to(model, name, target)
    ]
    if not hasattr(model, "is_superuser"):
        missing.append("is_superuser")
    if not missing:
        return []
    return [
        Error(
            f"The user model {model._meta.label} lacks {', '.join(missing)}: roles are Django's"
            " groups, and the Configuration Manager asks for Django's permissions.",
            hint="Make it a subclass of django.contrib.auth.models.PermissionsMixin.",
            obj=model,
            id="flows.E004",
        )
    ]


def _leads_to(model: Any, name: str, target: type) -> bool:
    """Return whether the field leads to the model, and for roles also back to their users."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    if field.related_model is not target:
        return False
    return target is not Group or not field.remote_field.hidden
