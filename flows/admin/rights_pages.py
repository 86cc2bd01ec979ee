"""The pages of rights beside the role mappings: the matrix, profiles, and effective rights."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from flows.access.effective import (
    flows_with_rights,
    mappings_of,
    permissions_of,
    rights_to,
    rights_to_every_flow,
)
from flows.admin import see_as
from flows.admin.by_role import mappings_seen
from flows.admin.matrix import matrix_view
from flows.admin.profiles import give_view
from flows.models import Right
from scripts.admin.site import site

FLOWS_A_PAGE = 50


def urls(model_admin: Any) -> list[URLPattern]:
    """Return the addresses, which are those of the admin of role mappings."""

    def page(address: str, view: Any, name: str) -> URLPattern:
        opened = model_admin.admin_site.admin_view(partial(view, model_admin=model_admin))
        return path(address, opened, name=f"flows_rolemapping_{name}")

    return [
        page("matrix/", matrix_view, "matrix"),
        page("profile/", give_view, "profile"),
        page("mine/", mine_view, "mine"),
        page("own-view/", see_as.own_view, "own_view"),
        page("of/<path:user_id>/", user_view, "of_user"),
    ]


def mine_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    return _page(request, model_admin, request.user, title="My rights")


def user_view(request: HttpRequest, model_admin: Any, user_id: str) -> HttpResponse:
    model = get_user_model()
    if not site.is_registered(model):
        raise Http404
    users: Any = site.get_model_admin(model)
    user = users.get_object(request, unquote(user_id))
    if user is None:
        raise Http404
    if not users.has_view_permission(request, user):
        raise PermissionDenied
    return _page(
        request, model_admin, user, title=f"Rights of {user}", opts=users.opts, original=user
    )


def effective(request: HttpRequest, user: Any, size: int = FLOWS_A_PAGE) -> dict[str, Any]:
    """Return what the table of a user's rights shows, as far as the request's user may see it."""
    mappings = mappings_of(user)
    if request.user.pk != user.pk:
        mappings = mappings_seen(request, mappings)
    flows = Paginator(flows_with_rights(mappings), size).get_page(request.GET.get("p"))
    return {
        "of_user": user,
        "all_rights": Right.values,
        "rights_rows": [rights_to_every_flow(user, mappings), *rights_to(flows, mappings)],
        "rights_flows": flows,
        "raw_permissions": permissions_of(user),
        "may_see_roles": _may_see_roles(request),
    }


def _page(request: HttpRequest, model_admin: Any, user: Any, **more: Any) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        **effective(request, user),
        **more,
    }
    return TemplateResponse(request, "admin/flows/rolemapping/rights.html", context)


def _may_see_roles(request: HttpRequest) -> bool:
    from django.contrib.auth.models import Group

    return site.is_registered(Group) and site.get_model_admin(Group).has_view_permission(request)
