"""The address by which callers reach the engine, with proxies between."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

ROOTS = frozenset({"admin", "async", "static"})
PROBES = "/async/health/"


class PublicAddressMiddleware:
    """Show the request as the caller made it, whatever the proxies have made of it.

    With ASYNCENGINE_URL scheme, host and sub-path are those of that address. Without it scheme and
    host are what the trusted proxies say, of which there are ASYNCENGINE_PROXIES.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.path_info = inner_path(request.path_info)
        request.path = f"{settings.FORCE_SCRIPT_NAME or ''}{request.path_info}"
        believe_proxies(request)
        if request.path_info.startswith(PROBES):
            # Probes ask by the address of a container, which no list of hosts has.
            request.META["HTTP_HOST"] = an_allowed_host()
        if settings.ASYNCENGINE_URL:
            # Raises DisallowedHost; the caller's own word is not used for more than this.
            request.get_host()
            public = urlsplit(settings.ASYNCENGINE_URL)
            request.META |= {"wsgi.url_scheme": public.scheme, "HTTP_HOST": public.netloc}
        return self.get_response(request)


def an_allowed_host() -> str:
    """Return a host that Django takes; one may stand in the list with all that are below it."""
    hosts = settings.ALLOWED_HOSTS or ["localhost"]
    return hosts[0].lstrip(".").replace("*", "localhost")


def inner_path(path: str) -> str:
    """Return the path below the sub-path of ASYNCENGINE_URL, if it is there.

    Some proxies take the sub-path away and some pass it on. A sub-path may be called as a path
    within it, so that what follows decides.
    """
    prefix = settings.FORCE_SCRIPT_NAME
    if not prefix:
        return path
    if path == prefix or (path == f"{prefix}/" and prefix[1:] not in ROOTS):
        return "/"
    rest = path.removeprefix(prefix)
    is_below = path.startswith(f"{prefix}/") and rest.split("/")[1] in ROOTS
    return rest if is_below else path


def believe_proxies(request: HttpRequest) -> None:
    """Take scheme and host from the header of the outermost trusted proxy."""
    scheme = said_by_proxies(request, "HTTP_X_FORWARDED_PROTO").lower()
    if scheme in {"http", "https"}:
        request.META["wsgi.url_scheme"] = scheme
    if host := said_by_proxies(request, "HTTP_X_FORWARDED_HOST"):
        request.META["HTTP_HOST"] = host


def said_by_proxies(request: HttpRequest, header: str) -> str:
    """Return what the outermost trusted proxy has written; each adds its own at the end."""
    hops = settings.ASYNCENGINE_PROXIES
    if not hops:
        return ""
    said = [part.strip() for part in request.META.get(header, "").split(",")]
    return said[-min(hops, len(said))]
