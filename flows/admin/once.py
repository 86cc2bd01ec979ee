"""What a form asks for is done once, also where the browser sends it twice.

A double click sends a form twice, and so does Enter that is pressed twice; without JavaScript no
script of the page prevents it. Such a form has a field with a token (`{% once %}`). The first
request with it notes in the database that it is at work, and where it led; a second one with the
same content waits for that, changes nothing and leads there, too. A form that was refused is sent
again as it is. One that failed, and may be done, is not: the user looks first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase

from flows.admin.error_pages import page
from flows.tasks.cache import TaskCache
from scripts.admin.bulk import STORES_ROW_BY_ROW
from scripts.admin.dialogs import is_part
from scripts.admin.site import site

FIELD, CSRF = "_once", "csrfmiddlewaretoken"
KEPT = timedelta(days=1)
# So long a second request waits for the end of the first one.
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.05
TWICE = "The form was sent twice. It was done once. To do it again, open it anew."
UNKNOWN = (
    "The form was sent before, and what came of it is not known yet. Look whether it was done; to"
    " do it again, open it anew."
)


class OnceMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.sent = TaskCache()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if key := getattr(request, "once_key", ""):
            if location := _location(response):
                self.sent.set(key, location, KEPT.total_seconds())
            elif not _may_be_done(request, response):
                # Refused: it is sent again as it is.
                self.sent.delete(key)
        return response

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        is_form = request.method == "POST" and match and "admin" in match.namespaces
        if not (is_form and request.POST.get(FIELD) and site.has_permission(request)):
            return None
        key, deadline = _key(request), time.monotonic() + PATIENCE_SECONDS
        while not self.sent.add(key, "", KEPT.total_seconds()):
            if location := self.sent.get(key):
                return _led(request, location)
            if time.monotonic() > deadline:
                return _unknown(request)
            time.sleep(PAUSE_SECONDS)
        request.once_key = key  # type: ignore[attr-defined]
        return None


def _led(request: HttpRequest, location: str) -> HttpResponseBase:
    messages.info(request, TWICE)
    if is_part(request):
        return HttpResponse(headers={"HX-Redirect": location})
    return HttpResponseRedirect(location)


def _unknown(request: HttpRequest) -> HttpResponseBase:
    if is_part(request):
        messages.warning(request, UNKNOWN)
        return HttpResponse(headers={"HX-Refresh": "true"})
    return page(request, 409, "Sent before", UNKNOWN)


def _location(response: HttpResponseBase) -> str:
    """Return where the answer leads, "" where it shows the form again or an error."""
    return response.headers.get("HX-Redirect") or response.headers.get("Location") or ""


def _may_be_done(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Say whether what was asked for may have been done, or a part of it, despite the error.

    503 says that nothing was stored; where an action stores row by row, it says so of one row.
    """
    if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    is_unknown = response.status_code != HTTPStatus.SERVICE_UNAVAILABLE
    return is_unknown or bool(getattr(request, STORES_ROW_BY_ROW, False))


def _key(request: HttpRequest) -> str:
    """Return the same for the same user, address and content, files included."""
    content = sorted((name, values) for name, values in request.POST.lists() if name != CSRF)
    files = sorted(
        (name, str(file.name), _digest(file))
        for name, sent in request.FILES.lists()
        for file in sent
    )
    text = json.dumps([str(request.user.pk), request.get_full_path(), content, files])
    return f"form:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _digest(file: UploadedFile) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()
