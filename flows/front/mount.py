"""The engine below an `include()` of a project, as an application within the application.

The project's handler finds the view `Mount` and leaves the rest of the path to it. Below it are
addresses, middleware, templates and error pages of the engine's own, so that the project's are not
touched: `reverse("admin:index")` is the engine's page within, and the project's outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils.module_loading import import_string

from flows.front.templates import templates_of_the_engine


def is_mounted() -> bool:
    """Say whether the engine is below an `include()` of a project with pages of its own."""
    return bool(getattr(settings, "ASYNCENGINE_MOUNTED", False))


def own_middleware() -> list[str]:
    """Return the middleware that requests of the engine pass."""
    found: list[str] = getattr(settings, "ASYNCENGINE_MIDDLEWARE", settings.MIDDLEWARE)
    return found


class Mount(BaseHandler):
    """A view that answers what is below it with the addresses of a module.

    A form is guarded by the engine's own CsrfViewMiddleware, and a view has ATOMIC_REQUESTS unless
    it says no.
    """

    csrf_exempt = True
    # What `non_atomic_requests` sets: each view within decides by itself.
    _non_atomic_requests = frozenset(settings.DATABASES)

    def __init__(self, urlconf: str) -> None:
        self._urlconf = urlconf

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for path in reversed(own_middleware()):
            middleware = import_string(path)(chain)
            if hasattr(middleware, "process_view"):
                self._view_middleware.insert(0, middleware.process_view)
            if hasattr(middleware, "process_exception"):
                self._exception_middleware.append(middleware.process_exception)
            chain = convert_exception_to_response(middleware)
        self._middleware_chain = chain

    def __call__(self, request: Any, rest: str) -> HttpResponseBase:
        if self._middleware_chain is None:
            self.load_middleware()
        # Django completes these with the prefix at the first use, which has to be the project's.
        settings.STATIC_URL, settings.MEDIA_URL  # noqa: B018
        prefix = request.path.removesuffix(rest)
        outside = request.path_info, request.resolver_match, getattr(request, "urlconf", None)
        request.path_info, request.urlconf = f"/{rest}", self._urlconf
        try:
            with self._within(prefix):
                response = self._middleware_chain(request)
        finally:
            request.path_info, request.resolver_match, request.urlconf = outside
            if request.urlconf is None:
                del request.urlconf
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            response.streaming_content = self._streamed(response.streaming_content, prefix)
        return response

    @contextmanager
    def _within(self, prefix: str) -> Iterator[None]:
        outside = get_script_prefix(), get_urlconf()
        set_script_prefix(prefix)
        set_urlconf(self._urlconf)
        try:
            with templates_of_the_engine():
                yield
        finally:
            set_script_prefix(outside[0])
            set_urlconf(outside[1])

    def _streamed(self, content: Any, prefix: str) -> Iterator[bytes]:
        """Go on within while the server takes what the answer consists of."""
        parts = iter(content)
        while True:
            with self._within(prefix):
                part = next(parts, None)
            if part is None:
                return
            yield part
