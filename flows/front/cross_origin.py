"""Headers for pages of other origins, of the answers that pass no middleware."""

from __future__ import annotations

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from flows.front.environ import Scope, header

MIDDLEWARE = "corsheaders.middleware.CorsMiddleware"


class CrossOrigin:
    """Gives the headers that the middleware gives to all other answers; none where it is off."""

    def __init__(self) -> None:
        is_on = MIDDLEWARE in settings.MIDDLEWARE
        self._middleware = CorsMiddleware(_no_answer) if is_on else None

    def headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers for the answer to a request."""
        if self._middleware is None:
            return []
        request, response = HttpRequest(), HttpResponse()
        request.method, request.path_info = scope["method"], scope["path"]
        if (origin := header(scope, b"origin")) is not None:
            request.META["HTTP_ORIGIN"] = origin.decode("latin-1")
        del response["Content-Type"]
        self._middleware.add_response_headers(request, response)
        return [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.items()
        ]


def _no_answer(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError
