"""Rows, pages and buttons follow the roles, as the API does.

A role of any flow, or Django's permission to view, opens the pages. The roles alone determine the
rows. To change a configured row, a user needs the right to configure its flow; or Django's
permission, and has to see the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from flows.access.rights import SEES_EVERY_RUN, flows_with, rights_by_flow
from flows.models import Right, RoleMapping
from scripts.admin.site import site

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object


def rights_of(request: Any) -> defaultdict[int | None, set[str]]:
    """Return the rights of the request's user by the flow's id, read once a request."""
    if not hasattr(request, "rights_by_flow"):
        request.rights_by_flow = rights_by_flow(request.user)
    return request.rights_by_flow


def has_right(request: HttpRequest, rights: Collection[str], flow_id: int | None) -> bool:
    """Say whether the user has one of the rights to the flow; None: a deleted flow."""
    given = rights_of(request)
    return bool((given[None] | given[flow_id]) & set(rights))


def has_right_somewhere(request: HttpRequest, rights: Collection[str]) -> bool:
    return any(given & set(rights) for given in rights_of(request).values())


def has_right_everywhere(request: HttpRequest, rights: Collection[str]) -> bool:
    """Say whether the user has one of the rights to every flow, deleted ones included."""
    return bool(rights_of(request)[None] & set(rights))


def sees_every_flow(request: HttpRequest) -> bool:
    return has_right_everywhere(request, SEES_EVERY_RUN)


def watched_flow_ids(request: HttpRequest) -> tuple[int, ...] | None:
    """Return the flows that the user watches or operates, in order; None: all."""
    if sees_every_flow(request):
        return None
    return tuple(sorted(flows_with(rights_of(request), SEES_EVERY_RUN)))


def mappings_seen(request: HttpRequest, mappings: QuerySet[RoleMapping]) -> QuerySet[RoleMapping]:
    """Leave out mappings to flows that the user does not see."""
    rights = rights_of(request)
    if rights[None]:
        return mappings
    return mappings.filter(Q(flow=None) | Q(flow__in=flows_with(rights, set(Right.values))))


def may_view(request: HttpRequest, model: type[Model], obj: Any = None) -> bool:
    """Say whether the pages of a model are open to the user, or that of an object."""
    return site.get_model_admin(model).has_view_permission(request, obj)


def configures(request: HttpRequest, flow_id: int | None) -> bool:
    """Say whether the user has the right to configure the flow; None: every flow."""
    return has_right(request, {Right.CONFIGURE}, flow_id)


class ByRole(Base):
    """For models whose rows belong to flows."""

    # A user with one of these rights to any flow may open the pages.
    opened_by: frozenset[str] = frozenset(Right.values)

    def seen(self, request: HttpRequest) -> Q | None:
        """Return the condition for the rows that the user sees; None: all of them."""
        raise NotImplementedError

    def flow_of(self, obj: Any) -> int | None:
        """Return the id of the object's flow; None if it has none or the flow is deleted."""
        raise NotImplementedError

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows, condition = super().get_queryset(request), self.seen(request)
        return rows if condition is None else rows.filter(condition)

    def sees(self, request: HttpRequest, obj: Any) -> bool:
        condition = self.seen(request)
        if condition is None:
            return True
        return self.model._base_manager.filter(condition, pk=obj.pk).exists()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None:
            return self.sees(request, obj)
        return has_right_somewhere(request, self.opened_by) or super().has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or self.sees(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or self.sees(request, obj))

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.may(request, Right.OPERATE, object_id)

    def may(self, request: HttpRequest, right: str, object_id: Any = None) -> bool:
        """Say whether the user has the right to the object's flow; without one, to any flow."""
        if object_id is None:
            return has_right_somewhere(request, {right})
        if request.user.is_superuser:
            # The view answers 404 if there is no such object.
            return True
        obj = self.get_object(request, str(object_id))
        return obj is not None and has_right(request, {right}, self.flow_of(obj))

    def permitted(self, request: HttpRequest, right: str, objs: Any) -> list[Any]:
        """Return the objects whose flow the user has the right to."""
        return [obj for obj in objs if has_right(request, {right}, self.flow_of(obj))]


class ConfiguredByRole(ByRole):
    """Rows that the right to configure their flow allows to change, without Django's permission.

    The right to configure every flow also allows to add and to delete.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or configures(request, None)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_change_permission(request, obj):
            return True
        if obj is None:
            return has_right_somewhere(request, {Right.CONFIGURE})
        return configures(request, self.flow_of(obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) or configures(request, None)
