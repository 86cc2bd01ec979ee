"""The matrix of roles and flows: a cell has a switch for each right of the role to the flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse

from flows.access.profiles import EVERY_FLOW, give_right, profile_of, take_right
from flows.access.rights import IMPLIED, flows_allowed
from flows.admin.by_role import mappings_seen, rights_of
from flows.admin.delegation import NOT_OWN_RIGHT
from flows.models import Flow, Right, RoleMapping

FLOWS_A_PAGE = 25
ROLES_A_PAGE = 5
LONGEST_FILTER = 200
ICONS = {
    Right.START.value: "play_arrow",
    Right.WATCH.value: "visibility",
    Right.OPERATE.value: "build",
    Right.CONFIGURE.value: "tune",
}


@dataclass(frozen=True, slots=True)
class Switch:
    right: str
    icon: str
    is_on: bool
    # The right that includes this one, "" if it is given by itself.
    implied_by: str
    may_set: bool


@dataclass(frozen=True, slots=True)
class Cell:
    role: Group
    flow: Flow | None
    switches: list[Switch]
    profile: str

    @property
    def key(self) -> str:
        return f"{self.role.pk}-{self.flow.pk if self.flow else 0}"

    @property
    def flow_name(self) -> str:
        return self.flow.name if self.flow else EVERY_FLOW


@dataclass(frozen=True, slots=True)
class Row:
    flow: Flow | None
    cells: list[Cell]


class Matrix:
    """A page of the matrix, as the request's user sees it."""

    def __init__(self, request: HttpRequest, model_admin: Any) -> None:
        self.request = request
        self.rights = rights_of(request)
        # Switching needs both permissions; a right that the user lacks stays as it is.
        self.may_map = model_admin.has_add_permission(
            request
        ) and model_admin.has_delete_permission(request)

    def flows(self) -> Page[Flow]:
        flows = flows_allowed(self.request.user, Right.values).only("name")
        if text := self.filter("flow"):
            flows = flows.filter(name__icontains=text)
        return Paginator(flows.order_by("name"), FLOWS_A_PAGE).get_page(self.request.GET.get("p"))

    def roles(self) -> Page[Group]:
        roles = Group.objects.only("name").order_by("name")
        if text := self.filter("role"):
            roles = roles.filter(name__icontains=text)
        return Paginator(roles, ROLES_A_PAGE).get_page(self.request.GET.get("rp"))

    def filter(self, name: str) -> str:
        return self.request.GET.get(name, "").replace("\0", "").strip()[:LONGEST_FILTER]

    def rows(self, flows: Iterable[Flow], roles: Iterable[Group]) -> list[Row]:
        shown, roles = [None, *flows], list(roles)
        given: defaultdict[tuple[int, int | None], set[str]] = defaultdict(set)
        mappings = RoleMapping.objects.filter(role__in=[role.pk for role in roles])
        of_page = mappings.filter(flow=None) | mappings.filter(
            flow__in=[flow.pk for flow in shown if flow]
        )
        for role_id, flow_id, right in of_page.order_by().values_list("role", "flow", "right"):
            given[role_id, flow_id].add(right)
        return [
            Row(
                flow,
                [
                    self.cell(role, flow, given[role.pk, flow.pk if flow else None])
                    for role in roles
                ],
            )
            for flow in shown
        ]

    def cell(self, role: Group, flow: Flow | None, given: set[str]) -> Cell:
        own = self.rights[None] | (self.rights[flow.pk] if flow else set())
        switches = [
            Switch(
                right=right,
                icon=ICONS[right],
                is_on=right in given,
                implied_by=_implied_by(right, given),
                may_set=self.may_map and right in own,
            )
            for right in Right.values
        ]
        profile = profile_of(given)
        return Cell(role, flow, switches, profile.label if profile else "")


def matrix_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    matrix = Matrix(request, model_admin)
    if request.method == "POST":
        return _set(matrix)
    flows, roles = matrix.flows(), matrix.roles()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Matrix of rights",
        "rows": matrix.rows(flows, roles),
        "roles": roles,
        "flows": flows,
        "role_filter": matrix.filter("role"),
        "flow_filter": matrix.filter("flow"),
        "legend": [(ICONS[right.value], right.label) for right in Right],
        "may_map": matrix.may_map,
        "may_see_roles": model_admin.admin_site.is_registered(Group)
        and model_admin.admin_site.get_model_admin(Group).has_view_permission(request),
    }
    return TemplateResponse(request, "admin/flows/rolemapping/matrix.html", context)


def _set(matrix: Matrix) -> HttpResponse:
    """Give the right or take it, and answer with the cell as it is then."""
    role, flow, right, is_on = _sent(matrix)
    own = matrix.rights[None] | (matrix.rights[flow.pk] if flow else set())
    if not matrix.may_map or right not in own:
        raise PermissionDenied(NOT_OWN_RIGHT)
    (give_right if is_on else take_right)(role, flow, right)
    given = mappings_seen(matrix.request, role.role_mappings.filter(flow=flow))
    cell = matrix.cell(role, flow, set(given.values_list("right", flat=True)))
    verb = "may now" if is_on else "may no longer"
    note = f"{role.name} {verb} {right} {cell.flow_name}."
    context = {"cell": cell, "note": note}
    return render(matrix.request, "admin/flows/rolemapping/cell_set.html", context)


def _sent(matrix: Matrix) -> tuple[Group, Flow | None, str, bool]:
    parts = matrix.request.POST.get("set", "").split(":")
    if len(parts) != 4 or parts[2] not in Right.values or parts[3] not in {"on", "off"}:
        raise BadRequest("The switch is not one of this page.")
    role_id, flow_id, right, state = parts
    flows = flows_allowed(matrix.request.user, Right.values)
    role = Group.objects.filter(pk=_key(role_id)).first()
    flow = flows.filter(pk=_key(flow_id)).first() if flow_id else None
    if role is None or (flow_id and flow is None):
        raise Http404("The role or the flow is gone.")
    return role, flow, right, state == "on"


def _key(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRequest("The switch is not one of this page.")
    return int(text)


def _implied_by(right: str, given: set[str]) -> str:
    if right in given:
        return ""
    return next((each for each in given if right in IMPLIED.get(each, ())), "")
