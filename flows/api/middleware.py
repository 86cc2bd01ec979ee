from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from flows.api.body import UTF_8
from flows.api.errors import CONTENT_TYPE, Problem


class ProblemMiddleware:
    """Give what Django itself refuses under /async the form of the other refusals.

    It stands first, so that it sees the answers to unknown paths, forbidden hosts and surprises.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= 400 and f"{request.path_info}/".startswith("/async/"):
            _state_problem(response)
        return response


class CharsetMiddleware:
    """Refuse bodies in another charset than UTF-8; the operations of the API do that themselves."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        charset = (request.content_params or {}).get("charset", "utf-8")
        is_utf_8 = charset.strip('"').lower() in UTF_8
        if is_utf_8 or request.path_info.startswith("/async/"):
            return self.get_response(request)
        return HttpResponse("The request must be in UTF-8.", "text/plain", status=415)


def _state_problem(response: HttpResponseBase) -> None:
    """Replace the body. The response stays: Django has marked on it what it has logged."""
    if not isinstance(response, HttpResponse) or response["Content-Type"] == CONTENT_TYPE:
        return
    response.content = Problem.of_status(response.status_code).body()
    response["Content-Type"] = CONTENT_TYPE
    response["Content-Length"] = str(len(response.content))
