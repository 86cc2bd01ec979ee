"""Profiles: named sets of rights, given to a role or to a user for some flows or for every flow.

A profile is not stored. It is the name of the rights that a role has to a flow. A user gets one as
a member of a role that has these rights and nothing else. An administrator is a superuser.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from django.contrib.auth.models import Group
from django.db import IntegrityError, models, transaction

from flows.access.rights import IMPLIED
from flows.models import Flow, Right, RoleMapping

EVERY_FLOW = "every flow"
LONGEST_ROLE = Group._meta.get_field("name").max_length or 150


class Profile(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    CONFIGURATOR = "configurator", "Configurator"
    ADMINISTRATOR = "administrator", "Administrator"


MEANS = {
    Profile.VIEWER: "sees the flow with its queues, runs and dead letters",
    Profile.OPERATOR: "also starts runs, pauses, cancels and reprocesses",
    Profile.CONFIGURATOR: "also changes steps, scripts, queues and settings;"
    " for every flow, also makes new ones",
    Profile.ADMINISTRATOR: "does everything, with users, roles, tokens and secrets: a superuser",
}
_OPERATES = frozenset({Right.WATCH.value, Right.START.value, Right.OPERATE.value})
RIGHTS_OF: dict[str, frozenset[str]] = {
    Profile.VIEWER.value: frozenset({Right.WATCH.value}),
    Profile.OPERATOR.value: _OPERATES,
    Profile.CONFIGURATOR.value: _OPERATES | {Right.CONFIGURE.value},
}


def profile_of(rights: Iterable[str]) -> Profile | None:
    """Return the profile that has exactly these rights, with those that others imply."""
    given = set(rights)
    for each in tuple(given):
        given |= IMPLIED.get(each, frozenset())
    for name, wanted in RIGHTS_OF.items():
        if given == wanted:
            return Profile(name)
    return None


@transaction.atomic
def set_rights(role: Group, flow: Flow | None, rights: Set[str]) -> None:
    """Leave the role exactly these rights to the flow; None stands for every flow."""
    missing = set(rights)
    for mapping in role.role_mappings.filter(flow=flow):
        if mapping.right in missing:
            missing.remove(mapping.right)
        else:
            mapping.delete()
    for right in sorted(missing):
        give_right(role, flow, right)


def give_right(role: Group, flow: Flow | None, right: str) -> None:
    """Give the role the right, which another user may give it at the same time."""
    if role.role_mappings.filter(flow=flow, right=right).exists():
        return
    try:
        with transaction.atomic():
            RoleMapping.objects.create(role=role, flow=flow, right=right)
    except IntegrityError:
        if not role.role_mappings.filter(flow=flow, right=right).exists():
            raise


def take_right(role: Group, flow: Flow | None, right: str) -> None:
    for mapping in role.role_mappings.filter(flow=flow, right=right):
        mapping.delete()


def role_with(profile: str, flow: Flow | None) -> Group | None:
    """Return a role with the profile for the flow and nothing else, None if there is none."""
    rights = RIGHTS_OF[profile]
    roles = Group.objects.filter(role_mappings__flow=flow, permissions=None)
    for role in roles.distinct().order_by("pk"):
        found = set(role.role_mappings.values_list("right", "flow"))
        if found == {(right, flow.pk if flow else None) for right in rights}:
            return role
    return None


@transaction.atomic
def make_role(profile: str, flow: Flow | None) -> Group:
    """Make a role with the profile for the flow, such as "Operator of orders"."""
    first = f"{Profile(profile).label} of {flow.name if flow else EVERY_FLOW}"[:LONGEST_ROLE]
    name, number = first, 1
    while Group.objects.filter(name=name).exists():
        number += 1
        name = f"{first[: LONGEST_ROLE - 8]} ({number})"
    role = Group.objects.create(name=name)
    set_rights(role, flow, RIGHTS_OF[profile])
    return role
