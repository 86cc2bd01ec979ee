from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from flows.api.body import CHUNK_BYTES, declared_length
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
            _read_to_the_end(request)
        return response


def _read_to_the_end(request: HttpRequest) -> None:
    """Read the rest of a body that was refused unread, if it is no longer than one may be.

    The server closes a connection with something unread on it, and a client that keeps its
    connections loses its next request.
    """
    left = settings.ASYNCENGINE_MAX_PAYLOAD_BYTES
    try:
        if declared_length(request) > left:
            return
        while left > 0 and (chunk := request.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
    except (OSError, Problem):
        # The caller has gone, or does not say how long the body is.
        return


def _state_problem(response: HttpResponseBase) -> None:
    """Replace the body. The response stays: Django has marked on it what it has logged."""
    if not isinstance(response, HttpResponse) or response["Content-Type"] == CONTENT_TYPE:
        return
    response.content = Problem.of_status(response.status_code).body()
    response["Content-Type"] = CONTENT_TYPE
    response["Content-Length"] = str(len(response.content))
