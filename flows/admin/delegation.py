"""What a user may give to other users: a superuser everything, others what they have themselves.

Without this rule a user with the permission to change users or roles could become a superuser: on
the own page, with the password of another user, or through a role with more rights.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from flows.access.rights import rights_by_flow
from flows.models import RoleMapping
from flows.models.users import members

NOT_OWN_RIGHT = "Only a right that you have yourself can be given or taken away."


def permissions_to_give(giver: Any) -> QuerySet[Permission]:
    """Return the permissions that a user has and may therefore give."""
    if giver.is_superuser:
        return Permission.objects.all()
    return _permissions_of(giver)


def may_give_mapping(giver: Any, right: str, flow_id: int | None) -> bool:
    """Say whether a user has the right to the flow; None stands for every flow."""
    if giver.is_superuser:
        return True
    rights = rights_by_flow(giver)
    return right in rights[None] | (rights[flow_id] if flow_id else set())


def roles_to_give(giver: Any) -> QuerySet[Group]:
    """Return the roles whose permissions and rights the user has, too."""
    if giver.is_superuser:
        return Group.objects.all()
    own = set(_permissions_of(giver).values_list("pk", flat=True))
    too_much = Group.objects.filter(permissions__in=Permission.objects.exclude(pk__in=own))
    rights = rights_by_flow(giver)
    beyond = {
        role_id
        for role_id, right, flow_id in RoleMapping.objects.values_list("role", "right", "flow")
        if right not in rights[None] | (rights[flow_id] if flow_id else set())
    }
    return Group.objects.exclude(pk__in=too_much).exclude(pk__in=beyond)


def may_give_role(giver: Any, role: Group) -> bool:
    return roles_to_give(giver).filter(pk=role.pk).exists()


def may_edit_user(editor: Any, user: Any) -> bool:
    """Say whether the editor has all that the user has. An editor could set the password.

    The permissions of an inactive user count too, because the editor could activate the account.
    """
    if editor.is_superuser or editor.pk == user.pk:
        return True
    if user.is_superuser:
        return False
    own = set(_permissions_of(editor).values_list("pk", flat=True))
    if not set(_permissions_of(user).values_list("pk", flat=True)) <= own:
        return False
    mappings = RoleMapping.objects.filter(**{f"role__{members()}": user.pk})
    return all(
        may_give_mapping(editor, right, flow_id)
        for right, flow_id in mappings.values_list("right", "flow")
    )


def _permissions_of(user: Any) -> QuerySet[Permission]:
    own = Q(pk__in=user.user_permissions.values("pk"))
    return Permission.objects.filter(own | Q(group__in=user.groups.values("pk"))).distinct()
