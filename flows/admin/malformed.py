"""Refuses malformed addresses of the admin before they reach the database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import BadRequest, FieldError, ValidationError
from django.db import DataError, ProgrammingError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

from flows.admin.error_pages import not_posted, page
from flows.errors import PayloadUnreadable

logger = logging.getLogger(__name__)

# The errors of lookups with values of a wrong type, in Django and in the databases.
OF_LOOKUPS = (
    *(IncorrectLookupParameters, FieldError, ValidationError, DataError, ProgrammingError),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)
# Django itself answers these if there is no such object.
ANSWERED = ("_change", "_delete")
# Characters of a message.
MOST = 500


class MalformedMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and is_of_admin(request):
            return not_posted(request, response.headers["Allow"])
        # Django's answer after its own checks, which tells nothing.
        is_dropped = response.headers.get("Location") == f"{request.path}?{ERROR_FLAG}=1"
        return without_filter(request) if is_list(request) and is_dropped else response

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Raise Http404 or BadRequest if a key cannot be a key of the model.

        Django would take the flag of an error, from an old address, for a broken database.
        """
        admin: ModelAdmin[Any] | None = getattr(view, "model_admin", None)
        if admin is None:
            return
        object_id = None if url_name(request).endswith(ANSWERED) else kwargs.get("object_id")
        if object_id and not is_key(admin.model, unquote(object_id)):
            raise Http404
        if is_list(request) and ERROR_FLAG in request.GET:
            query = request.GET.copy()
            del query[ERROR_FLAG]
            request.GET = query  # type: ignore[assignment]
        if is_list(request) and request.method == "POST":
            chosen = request.POST.getlist("_selected_action")
            if not all(is_key(admin.model, key) for key in chosen):
                raise BadRequest("The selection holds a key that this list cannot have.")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Lead to the list without the filter where that was at fault.

        Of what no key decrypts a page says which key is missing.
        """
        if isinstance(error, PayloadUnreadable):
            return page(request, 503, "The payload cannot be decrypted", str(error))
        is_asked_for = request.method == "GET" and request.GET
        if not (is_list(request) and is_asked_for and isinstance(error, OF_LOOKUPS)):
            return None
        logger.warning("The list cannot be filtered by the values of the request", exc_info=error)
        return without_filter(request)


def without_filter(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the whole list, which says what it was not filtered by."""
    messages.error(request, f"The list is not filtered, as {unreadable(request)}"[:MOST])
    return HttpResponseRedirect(request.path)


def unreadable(request: HttpRequest) -> str:
    asked = ", ".join(f"{name}={value}" for name, value in request.GET.items())
    return f"this cannot be read: {asked}"


def url_name(request: HttpRequest) -> str:
    return (request.resolver_match and request.resolver_match.url_name) or ""


def is_of_admin(request: HttpRequest) -> bool:
    return request.resolver_match is not None and "admin" in request.resolver_match.namespaces


def is_list(request: HttpRequest) -> bool:
    return url_name(request).endswith("_changelist")


def is_key(model: type[Model], text: str) -> bool:
    try:
        model._meta.pk.clean(text, None)
    except (ValidationError, ValueError):
        return False
    return "\0" not in text
