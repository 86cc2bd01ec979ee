"""The rights that a user has in effect, each with where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Exists, OuterRef, QuerySet

from flows.access.profiles import Profile, profile_of
from flows.access.rights import IMPLIED
from flows.models import Flow, Right, RoleMapping
from flows.models.users import members


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a right comes from: a role; or another right, or being a superuser."""

    text: str
    role: int | None = None


@dataclass(slots=True)
class FlowRights:
    """The rights to a flow, None: to every flow, by right."""

    flow: Flow | None
    origins: dict[str, list[Origin]] = field(default_factory=dict)

    def add(self, right: str, origin: Origin) -> None:
        self.origins.setdefault(right, []).append(origin)
        for implied in IMPLIED.get(right, ()):
            self.origins.setdefault(implied, []).append(Origin(f"in {right}, by {origin.text}"))

    @property
    def profile(self) -> Profile | None:
        return profile_of(self.origins)

    def cells(self) -> Iterator[tuple[str, list[Origin]]]:
        """Yield every right, with no origin where the user does not have it."""
        for right in Right.values:
            yield right, self.origins.get(right, [])


def mappings_of(user: Any) -> QuerySet[RoleMapping]:
    """Return the mappings that count for the user: none of an inactive one."""
    if not user.is_active:
        return RoleMapping.objects.none()
    return RoleMapping.objects.filter(**{f"role__{members()}": user.pk})


def flows_with_rights(mappings: QuerySet[RoleMapping]) -> QuerySet[Flow]:
    return Flow.objects.filter(Exists(mappings.filter(flow=OuterRef("pk")))).order_by("name")


def rights_to_every_flow(user: Any, mappings: QuerySet[RoleMapping]) -> FlowRights:
    found = FlowRights(None)
    if user.is_active and user.is_superuser:
        for right in Right.values:
            found.origins[right] = [Origin("superuser")]
    return _filled(found, mappings.filter(flow=None))


def rights_to(flows: Iterable[Flow], mappings: QuerySet[RoleMapping]) -> list[FlowRights]:
    """Return the rights to each of the flows, which are few: those of a page."""
    by_flow = {flow.pk: FlowRights(flow) for flow in flows}
    for mapping in _in_order(mappings.filter(flow__in=list(by_flow))):
        by_flow[mapping.flow_id].add(mapping.right, _origin(mapping))  # type: ignore[index]
    return list(by_flow.values())


def permissions_of(user: Any) -> list[tuple[str, list[str]]]:
    """Return Django's permissions of the user by name, with the roles that have them.

    An empty name of a role stands for the user, who has the permission without a role.
    """
    own = set(user.user_permissions.values_list("pk", flat=True)) if user.is_active else set()
    roles = Group.objects.filter(**{members(): user.pk}) if user.is_active else Group.objects.none()
    through: dict[int, list[str]] = {pk: [""] for pk in own}
    for pk, name in roles.filter(permissions__isnull=False).values_list("permissions", "name"):
        through.setdefault(pk, []).append(name)
    found = Permission.objects.filter(pk__in=list(through)).select_related("content_type")
    return [
        (f"{each.content_type.app_label}: {each.name}", sorted(through[each.pk])) for each in found
    ]


def _filled(found: FlowRights, mappings: QuerySet[RoleMapping]) -> FlowRights:
    for mapping in _in_order(mappings):
        found.add(mapping.right, _origin(mapping))
    return found


def _in_order(mappings: QuerySet[RoleMapping]) -> QuerySet[RoleMapping]:
    return mappings.select_related("role").order_by("role__name", "right")


def _origin(mapping: RoleMapping) -> Origin:
    return Origin(mapping.role.name, mapping.role_id)
