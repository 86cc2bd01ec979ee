"""The documentation at /async/docs/: as the OpenAPI document, it is open to every caller.

What renders is imported with the first page: processes that show none start without it.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

TEMPLATES = "documentation"


@require_safe
@gzip_page
def page(request: HttpRequest, name: str = "") -> HttpResponse:
    from flows.documentation import pages

    if not pages.is_there(name):
        return _answer(request, name, "missing", 404, title="There is no such page")
    made = pages.rendered(name)
    headings = [each for each in made.sections if each.level == 2 and each.anchor]
    title = pages.PAGES[name].title
    return _answer(request, name, "page", 200, title=title, html=made.html, headings=headings)


@require_safe
@gzip_page
def search(request: HttpRequest) -> HttpResponse:
    from flows.documentation import pages, searching

    query = request.GET.get("q", "").strip()[: searching.LONGEST_QUERY]
    found = [
        (each, f"{pages.way('search', each.page.name)}#{each.section.anchor}".rstrip("#"))
        for each in searching.search(query)
    ]
    return _answer(request, "search", "search", 200, title="Search", query=query, found=found)


def _answer(
    request: HttpRequest, name: str, template: str, status: int, **context: Any
) -> HttpResponse:
    from flows.documentation import pages

    context |= {
        "name": name,
        "groups": pages.ways(name),
        "first": pages.way(name, ""),
        "search": pages.way(name, "search"),
    }
    response = render(request, f"{TEMPLATES}/{template}.html", context, status=status)
    # Another version may be installed at any time.
    response["Cache-Control"] = "no-cache"
    return response
