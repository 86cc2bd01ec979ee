"""Refuses malformed addresses of the admin before they reach the database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import BadRequest, FieldError, ValidationError
from django.db import DataError, ProgrammingError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

from flows.admin.error_pages import page
from flows.errors import PayloadUnreadable

logger = logging.getLogger(__name__)

# The errors of lookups with values of a wrong type, in Django and in the databases.
OF_LOOKUPS = (
    *(IncorrectLookupParameters, FieldError, ValidationError, DataError, ProgrammingError),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)
# Django itself answers these if there is no such object.
ANSWERED = ("_change", "_delete")


class MalformedMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Raise Http404 or BadRequest if a key cannot be a key of the model."""
        admin: ModelAdmin[Any] | None = getattr(view, "model_admin", None)
        if admin is None:
            return
        object_id = None if url_name(request).endswith(ANSWERED) else kwargs.get("object_id")
        if object_id and not is_key(admin.model, unquote(object_id)):
            raise Http404
        if is_list(request) and request.method == "POST":
            chosen = request.POST.getlist("_selected_action")
            if not all(is_key(admin.model, key) for key in chosen):
                raise BadRequest("The selection holds a key that this list cannot have.")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Redirect to the list without the filter, as Django does after its own checks.

        Of what no key decrypts a page says which key is missing.
        """
        if isinstance(error, PayloadUnreadable):
            return page(request, 503, "The payload cannot be decrypted", str(error))
        is_asked_for = request.method == "GET" and ERROR_FLAG not in request.GET and request.GET
        if not (is_list(request) and is_asked_for and isinstance(error, OF_LOOKUPS)):
            return None
        logger.warning("The list cannot be filtered by the values of the request", exc_info=error)
        return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")


def url_name(request: HttpRequest) -> str:
    return (request.resolver_match and request.resolver_match.url_name) or ""


def is_list(request: HttpRequest) -> bool:
    return url_name(request).endswith("_changelist")


def is_key(model: type[Model], text: str) -> bool:
    try:
        model._meta.pk.clean(text, None)
    except (ValidationError, ValueError):
        return False
    return "\0" not in text
