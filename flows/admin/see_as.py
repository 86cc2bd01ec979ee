"""An administrator sees the pages with the rights of another user, and changes nothing meanwhile.

The session holds who is seen. The middleware puts that user in the place of the administrator, who
stays on the request as `real_user`. Only a superuser may do so, which is checked with each request,
so no page has more rights than the administrator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from flows.access.audit import record
from flows.front.mount import own_middleware
from flows.models.users import VALUE_ERRORS, all_users
from scripts.admin.site import site

MIDDLEWARE = "flows.admin.see_as.SeeAsMiddleware"
KEY = "see_as"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSED = "Nothing can be changed while you see the Configuration Manager as {}."


class SeeAsMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Without a session there is none to read.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.session.get(KEY):
            return self._answer(request)
        return self.get_response(request)

    def _answer(self, request: Any) -> HttpResponse:
        if request.path in ways_out():
            return self.get_response(request)
        viewer, user = request.user, _seen(request)
        if request.method not in SAFE:
            return _refused(request, user)
        if user is None:
            del request.session[KEY]
            messages.warning(request, "You see your own pages again.")
            return self.get_response(request)

        async def auser() -> Any:
            return user

        request.real_user, request.user, request.auser = viewer, user, auser
        return self.get_response(request)


def ways_out() -> tuple[str, str]:
    return reverse("admin:flows_rolemapping_own_view"), reverse("admin:logout")


def may_see_as(request: Any, user: Any) -> bool:
    """Say whether the request's user may see the pages as this one."""
    return (
        MIDDLEWARE in own_middleware()
        and _is_administrator(request.user)
        and user.pk != request.user.pk
        and _enters(user)
    )


def begin(request: HttpRequest, user: Any) -> None:
    record("see as", user, after={"sees": "as this user"})
    request.session[KEY] = {"user": str(user.pk), "viewer": str(request.user.pk)}


def own_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """End it, and lead back to the page of the user who was seen."""
    state = request.session.pop(KEY, None) if request.method == "POST" else None
    user = _user(state["user"]) if state else None
    if user is None:
        return redirect("admin:index")
    record("see as", user, before={"sees": "as this user"}, after={"sees": "as before"})
    messages.success(request, "You see your own pages again.")
    meta = user._meta
    return redirect(f"admin:{meta.app_label}_{meta.model_name}_change", user.pk)


def _seen(request: Any) -> Any:
    """Return the user who is seen, None if the request's user may not do so any more."""
    state, viewer = request.session[KEY], request.user
    if not _is_administrator(viewer) or state["viewer"] != str(viewer.pk):
        return None
    user = _user(state["user"])
    return user if user is not None and _enters(user) else None


def _user(key: str) -> Any:
    try:
        return all_users().filter(pk=key).first()
    except VALUE_ERRORS:
        return None


def _is_administrator(user: Any) -> bool:
    return bool(user.is_active and user.is_superuser and _enters(user))


def _enters(user: Any) -> bool:
    return bool(user.is_active and user.is_staff)


def _refused(request: Any, user: Any) -> HttpResponse:
    note = REFUSED.format(user or "another user")
    if request.headers.get("HX-Request"):
        # htmx shows no answer that is an error: the page is loaded anew, with the message.
        messages.error(request, note)
        return HttpResponse(note, status=403, headers={"HX-Refresh": "true"})
    if not request.path.startswith(reverse("admin:index")):
        return HttpResponse(note, status=403, content_type="text/plain")
    context = {**site.each_context(request), "note": note, "title": "Read-only"}
    response = TemplateResponse(request, "admin/flows/rolemapping/read_only.html", context)
    response.status_code = 403
    return response.render()


def _forget(sender: Any, request: Any, **kwargs: Any) -> None:
    # A login of the same user keeps the session.
    if request is not None and hasattr(request, "session"):
        request.session.pop(KEY, None)


user_logged_in.connect(_forget, dispatch_uid="see-as-forgotten")
