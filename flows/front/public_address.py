"""The address that callers use to reach the engine, through proxies."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

ROOTS = frozenset({"admin", "async", "static"})
PROBES = "/async/health/"


class PublicAddressMiddleware:
    """Restore scheme, host and sub-path of the request as the caller sent it to the proxies.

    With ASYNCENGINE_URL they are those of that address. Without it, scheme and host are taken from
    the headers of the trusted proxies. ASYNCENGINE_PROXIES is the number of trusted proxies.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.path_info = inner_path(request.path_info)
        request.path = f"{settings.FORCE_SCRIPT_NAME or ''}{request.path_info}"
        believe_proxies(request)
        if request.path_info.startswith(PROBES):
            # Probes use the address of a container, which is not in ALLOWED_HOSTS.
            request.META["HTTP_HOST"] = an_allowed_host()
        if settings.ASYNCENGINE_URL:
            # Raises DisallowedHost. The Host header of the caller is used for this check alone.
            request.get_host()
            public = urlsplit(settings.ASYNCENGINE_URL)
            request.META |= {"wsgi.url_scheme": public.scheme, "HTTP_HOST": public.netloc}
        return self.get_response(request)


def an_allowed_host() -> str:
    """Return a host that ALLOWED_HOSTS accepts. An entry may stand for a host and its
    subdomains."""
    hosts = settings.ALLOWED_HOSTS or ["localhost"]
    return hosts[0].lstrip(".").replace("*", "localhost")


def inner_path(path: str) -> str:
    """Return the path below the sub-path of ASYNCENGINE_URL, if it is there.

    Some proxies remove the sub-path and some pass it on. The sub-path may have the same name as a
    path within it, so the path that follows decides.
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
    """Take scheme and host from the headers of the outermost trusted proxy."""
    scheme = said_by_proxies(request, "HTTP_X_FORWARDED_PROTO").lower()
    if scheme in {"http", "https"}:
        request.META["wsgi.url_scheme"] = scheme
    if host := said_by_proxies(request, "HTTP_X_FORWARDED_HOST"):
        request.META["HTTP_HOST"] = host


def said_by_proxies(request: HttpRequest, header: str) -> str:
    """Return the value of the outermost trusted proxy. Each proxy appends its own value."""
    hops = settings.ASYNCENGINE_PROXIES
    if not hops:
        return ""
    said = [part.strip() for part in request.META.get(header, "").split(",")]
    return said[-min(hops, len(said))]
