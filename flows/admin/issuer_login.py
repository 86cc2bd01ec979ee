"""Logins to the Configuration Manager at an identity provider."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import NoReverseMatch, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from flows.identity.errors import IssuerUnavailable, LoginFailed, TokenRefused, UserRefused
from flows.identity.options import Options, options
from flows.identity.users import user_of
from scripts.admin.site import site

if TYPE_CHECKING:
    from flows.identity.code_flow import Begun

logger = logging.getLogger(__name__)

COOKIE, SALT = "issuer_login", "flows.admin.issuer_login"
# For so long a user may be at the issuer.
BEGUN_SECONDS = 600
# Afterwards the issuer is asked again, and what it has ended ends here.
SESSION = timedelta(hours=10)
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
NOT_BEGUN = "The login took too long, or the browser keeps no cookies."
NO_ANSWER = "It does not answer now. Try again in some seconds."
NO_STAFF = "The user {} may not enter the Configuration Manager. An administrator can allow it."


def way_in(request: HttpRequest) -> dict[str, str] | None:
    """Return name and address of the login at the issuer; None: there is none."""
    current = options()
    if not current.takes_logins:
        return None
    try:
        place = reverse("issuer-login")
    except NoReverseMatch:
        # A project has not taken it into its addresses.
        return None
    query = urlencode({"next": _next(request)})
    return {"name": current.name, "url": f"{place}?{query}"}


@never_cache
@require_safe
def begin_login(request: HttpRequest) -> HttpResponse:
    """Lead the browser to the issuer."""
    # Late, with the libraries of the flow: most installations have no issuer.
    from flows.identity.code_flow import begin

    current = _configured()
    try:
        url, begun = begin(current, _callback(request))
    except IssuerUnavailable as error:
        return _failed(request, current, NO_ANSWER, error)
    response = redirect(url)
    kept = signing.dumps({**asdict(begun), "next": _next(request)}, salt=SALT)
    response.set_cookie(
        COOKIE,
        kept,
        max_age=BEGUN_SECONDS,
        path=reverse("issuer-login"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        # The issuer leads the browser back from another site.
        samesite="Lax",
    )
    return response


@never_cache
@require_safe
def finish_login(request: HttpRequest) -> HttpResponse:
    """Log the user in that comes back from the issuer."""
    from flows.identity.code_flow import finish

    current = _configured()
    try:
        begun, place = _begun(request)
        claims = finish(current, begun, _callback(request), request.GET.dict())
        user = user_of(claims, current)
        if not getattr(user, "is_staff", False):
            raise UserRefused(NO_STAFF.format(user.get_username()))
    except (LoginFailed, TokenRefused, UserRefused) as error:
        response = _failed(request, current, str(error), error)
    except IssuerUnavailable as error:
        response = _failed(request, current, NO_ANSWER, error)
    else:
        login(request, user, backend=_backend())
        request.session.set_expiry(SESSION)
        response = redirect(place)
    response.delete_cookie(COOKIE, path=reverse("issuer-login"))
    return response


urls = [
    path("", begin_login, name="issuer-login"),
    path("callback/", finish_login, name="issuer-callback"),
]


def _configured() -> Options:
    current = options()
    if not current.takes_logins:
        raise Http404
    return current


def _begun(request: HttpRequest) -> tuple[Begun, str]:
    from flows.identity.code_flow import Begun

    try:
        kept = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=BEGUN_SECONDS)
    except signing.BadSignature as error:
        raise LoginFailed(NOT_BEGUN) from error
    place = kept.pop("next")
    return Begun(**kept), place


def _callback(request: HttpRequest) -> str:
    return request.build_absolute_uri(reverse("issuer-callback"))


def _next(request: HttpRequest) -> str:
    """Return the page that the user wants, which is one of this server."""
    place = request.GET.get("next", "")
    hosts, is_secure = {request.get_host()}, request.is_secure()
    if url_has_allowed_host_and_scheme(place, hosts, require_https=is_secure):
        return place
    return reverse("admin:index")


def _failed(request: HttpRequest, current: Options, reason: str, error: Exception) -> HttpResponse:
    """Show the login page with the reason."""
    logger.info("A login at %s has failed: %s", current.issuer, error)
    messages.error(request, f"The login with {current.name} has failed. {reason}")
    return redirect(f"{site.name}:login")


def _backend() -> str:
    """Return what finds the user of the session again."""
    backends: list[str] = list(settings.AUTHENTICATION_BACKENDS)
    return MODEL_BACKEND if MODEL_BACKEND in backends else backends[0]
