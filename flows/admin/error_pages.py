"""Pages for 403, 404 and 405 inside the look of the Configuration Manager, with a way back."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views import csrf, defaults

from scripts.admin.site import site

FORBIDDEN = "Your roles do not allow this. An administrator can give you the right."
NOT_FOUND = "There is no page at this address. What it showed may have been deleted."
NOT_SENT = (
    "The form was not sent from this page, or the login changed meanwhile. Go back, load the page"
    " again and repeat it. Cookies have to be allowed."
)

NOT_POSTED = (
    "What a button does was asked for as a page: perhaps the session had ended. Go back and press"
    " the button again."
)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_of_api(request):
        return defaults.permission_denied(request, exception)
    return page(request, 403, "Not allowed", str(exception) or FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_of_api(request):
        return defaults.page_not_found(request, exception)
    return page(request, 404, "Page not found", NOT_FOUND)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if _is_of_api(request):
        return csrf.csrf_failure(request, reason)
    return page(request, 403, "The form was not accepted", NOT_SENT)


def not_posted(request: HttpRequest, methods: str) -> HttpResponse:
    response = page(request, 405, "Nothing was done", NOT_POSTED)
    response["Allow"] = methods
    return response


def page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    """Answer inside the menu for users who may see it, else by itself."""
    if "HX-Request" in request.headers:
        # failures.js shows it: htmx puts no error in the place of a part.
        return HttpResponse(f"{title}. {text}", "text/plain; charset=utf-8", status)
    # The way in the header is not that to the page which was asked for.
    request.error_title = title  # type: ignore[attr-defined]
    user = getattr(request, "user", None)
    is_inside = user is not None and site.has_permission(request)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": title,
        "text": text,
        "status": status,
        "is_nav_sidebar_enabled": is_inside,
        "is_not_saved": request.method == "POST",
    }
    name = "inside" if is_inside else "alone"
    template = f"admin/flows/error/{name}.html"
    return TemplateResponse(request, template, context, status=status).render()


def _is_of_api(request: HttpRequest) -> bool:
    return f"{request.path_info}/".startswith("/async/")
