"""What Ctrl+K finds: pages, flows, queues, scripts and runs that the user may see."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse

from flows.access.rights import flows_allowed, runs_seen
from flows.admin.by_role import may_view
from flows.admin.display import page_of
from flows.admin.navigation import own_groups
from flows.models import Flow, Queue, Right, Run
from flows.models.users import user_name_field
from scripts.admin.site import site
from scripts.models import ConfigurationValue, Library, ReferenceTable, Script, Secret

MOST_OF_A_KIND = 6
LONGEST_TEXT = 200
# With fewer digits a text may be the beginning of a name.
DIGITS_OF_IDS = 8
DIGITS = 32
# Pages about the user that no group of the sidebar has.
OWN_PAGES = (
    ("My rights", "flows_rolemapping_mine", "verified_user"),
    ("My API tokens", "own_tokens", "vpn_key"),
)


@dataclass(frozen=True)
class Found:
    title: str
    kind: str
    url: str
    icon: str


def find(request: HttpRequest) -> HttpResponse:
    """Answer the part of the page with what the text of `s` finds."""
    text = request.GET.get("s", "").replace("\0", "").strip()[:LONGEST_TEXT]
    found = list(_found(request, text)) if text else []
    return TemplateResponse(request, "admin/flows/found.html", {"found": found, "text": text})


def _found(request: HttpRequest, text: str) -> Iterator[Found]:
    yield from _runs(request, text)
    yield from _rows(request, text)
    yield from _starts(request, text)
    yield from _pages(request, text)


def _runs(request: HttpRequest, text: str) -> Iterator[Found]:
    digits = text.replace("-", "").lower()
    is_id = DIGITS_OF_IDS <= len(digits) <= DIGITS and set(digits) <= set(string.hexdigits)
    if not is_id or not _is_open(request, Run):
        return
    ends = (UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f")))
    runs = runs_seen(request.user).filter(pk__range=ends).order_by("pk")
    for pk, status in runs.values_list("pk", "status")[:MOST_OF_A_KIND]:
        yield Found(str(pk), f"Run, {status}", page_of(Run(pk=pk)), "play_circle")


def _kinds() -> Iterator[tuple[type[Model], str, str]]:
    """Return each model with the field that has its name, and its icon."""
    yield Flow, "name", "account_tree"
    yield Queue, "name", "stacks"
    yield Script, "name", "code"
    yield Library, "name", "library_books"
    yield Secret, "name", "lock"
    yield ConfigurationValue, "name", "tune"
    yield ReferenceTable, "name", "table"
    yield get_user_model(), user_name_field(), "person"
    yield Group, "name", "groups"


def _rows(request: HttpRequest, text: str) -> Iterator[Found]:
    for model, field, icon in _kinds():
        if not _is_open(request, model):
            continue
        rows: Any = site.get_model_admin(model).get_queryset(request)
        rows = rows.filter(**{f"{field}__icontains": text}).order_by(field)
        kind = str(model._meta.verbose_name).capitalize()
        for pk, name in rows.values_list("pk", field)[:MOST_OF_A_KIND]:
            yield Found(str(name), kind, page_of(model(pk=pk)), icon)


def _starts(request: HttpRequest, text: str) -> Iterator[Found]:
    wanted = text.lower().removeprefix("start").strip()
    flows = flows_allowed(request.user, {Right.START}).filter(active=True)
    flows = flows.filter(name__icontains=wanted).order_by("name")
    if not _is_open(request, Flow):
        return
    for flow in flows.only("pk", "name")[:MOST_OF_A_KIND]:
        url = _address("flows_flow_start", flow.pk)
        if url:
            yield Found(f"Start {flow.name}", "Start form", url, "play_arrow")


def _pages(request: HttpRequest, text: str) -> Iterator[Found]:
    for group in own_groups(request):
        for item in group["items"]:
            may_see = item.get("permission", _always)
            is_there = "model" not in item or site.is_registered(item["model"])
            if is_there and text.lower() in item["title"].lower() and may_see(request):
                yield Found(item["title"], "Page", item["link"], item["icon"])
    for title, name, icon in OWN_PAGES:
        if (mine := _address(name)) and text.lower() in title.lower():
            yield Found(title, "Page", mine, icon)
    may_add = site.is_registered(Flow) and site.get_model_admin(Flow).has_add_permission(request)
    if may_add and text.lower() in "new flow":
        yield Found("New flow", "Page", reverse("admin:flows_flow_add"), "add")


def _always(request: HttpRequest) -> bool:
    return True


def _is_open(request: HttpRequest, model: type[Model]) -> bool:
    # A project may have unregistered a model.
    return site.is_registered(model) and may_view(request, model)


def _address(name: str, *args: Any) -> str:
    try:
        return reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return ""
