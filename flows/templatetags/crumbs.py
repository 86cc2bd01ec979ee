"""The way to a page in the words of the menu: "Configuration > Flows > order-check"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import Resolver404, get_script_prefix, resolve, reverse

register = template.Library()

Crumb = dict[str, Any]

# By the name of an address, or by what it ends with.
OWN_NAMES = {
    "add": "New",
    "delete": "Delete",
    "history": "History",
    "flows_deadletter_discard_many": "Discard",
    "flows_deadletter_reprocess": "Reprocess",
    "auth_user_password_change": "Password",
    "flows_flow_add_step": "New step",
    "flows_flow_deleted": "Deleted flows",
    "flows_flow_remove_step": "Remove a step",
    "flows_flow_restore": "Restore",
    "flows_flow_start": "Start",
    "flows_flow_step": "Step",
    "flows_flow_webhooks": "Webhooks",
    "flows_flowversion_restore_with": "Restore",
    "flows_queue_tune": "Change",
    "flows_reprocessing_begin": "Reprocess many",
    "flows_rolemapping_of_user": "Rights",
    "flows_rolemapping_profile": "Profile",
    "flows_run_again": "Start again",
    "flows_run_conservation": "Check conservation",
    "flows_run_from_step": "Start again",
}


@register.filter
def in_words_of_menu(parts: list[Crumb], request: HttpRequest) -> list[Crumb]:
    """Replace the app's name, which unfold writes first, by the group of the menu."""
    if request.path == reverse("admin:index"):
        return [{"title": "Home"}]
    if title := getattr(request, "error_title", ""):
        return [{"title": title}]
    if parts and _is_app(parts[0]):
        parts = parts[1:]
    for group, item in _active(request):
        if parts and str(parts[0].get("link")) == item["link"]:
            parts = [parts[0] | {"title": item["title"]}, *parts[1:]]
        parts = [{"title": group}, *parts]
    last = _own_name(request)
    return [*parts, {"title": last}] if last else parts


def _own_name(request: HttpRequest) -> str:
    """Return how a page is called that is neither a list nor the page of an object."""
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    return OWN_NAMES.get(name) or OWN_NAMES.get(name.rpartition("_")[2], "")


def _is_app(part: Crumb) -> bool:
    """Say whether the part leads to the page of an app. Its link begins with the sub-path."""
    link = str(part.get("link") or "")
    prefix = get_script_prefix()
    if not link.startswith(prefix):
        return False
    try:
        return resolve(f"/{link.removeprefix(prefix)}").url_name == "app_list"
    except Resolver404:
        return False


def _active(request: HttpRequest) -> Iterator[tuple[str, Any]]:
    """Yield the first item of the menu that is active, with the title of its group."""
    for group in getattr(request, "menu_groups", ()):
        for item in group["items"]:
            if item.get("active") and "title" in group:
                yield str(group["title"]), item
                return
