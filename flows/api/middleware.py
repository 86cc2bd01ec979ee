from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from flows.api.body import UTF_8
from flows.api.errors import CONTENT_TYPE, Problem


class ProblemMiddleware:
    """Give refusals that Django itself makes under /async the form of problem details.

    It is the first middleware, so it sees the answers to unknown paths, forbidden hosts and
    unexpected errors.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= 400 and _is_of_api(request):
            _state_problem(response, _detail(request) if response.status_code == 400 else "")
        return response


class TextMiddleware:
    """Refuse text that pages cannot take. The operations of the API check it themselves.

    Refused are charsets other than UTF-8, and NUL, which PostgreSQL cannot store.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/async/"):
            return self.get_response(request)
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.strip('"').lower() not in UTF_8:
            return HttpResponse("The request must be in UTF-8.", "text/plain", status=415)
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return HttpResponse("An address has no NUL in it.", "text/plain", status=400)
        return self.get_response(request)


def _detail(request: HttpRequest) -> str:
    """Say that the host is not allowed where that is so: the first thing that befalls a caller
    who has another name for the server."""
    try:
        request.get_host()
    except DisallowedHost:
        host = request.META.get("HTTP_HOST", "")
        return (
            f"The host {host[:100]!r} is not allowed: the operators set ASYNCENGINE_ALLOWED_HOSTS,"
            " or ASYNCENGINE_URL."
        )
    return ""


def _is_of_api(request: HttpRequest) -> bool:
    match = request.resolver_match
    is_read = match is not None and match.app_name == "documentation"
    return f"{request.path_info}/".startswith("/async/") and not is_read


def _state_problem(response: HttpResponseBase, detail: str) -> None:
    """Replace the body. The response object stays: Django has marked it as logged."""
    if not isinstance(response, HttpResponse) or response["Content-Type"] == CONTENT_TYPE:
        return
    response.content = Problem.of_status(response.status_code, detail).body()
    response["Content-Type"] = CONTENT_TYPE
    response["Content-Length"] = str(len(response.content))
