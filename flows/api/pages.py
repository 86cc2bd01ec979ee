"""Lists in pages, newest first or by name. Callers do not interpret the cursor."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from rest_framework.request import Request

from flows.api import parameters
from flows.api.errors import Problem

PAGE_SIZE = 100

Row = TypeVar("Row", bound=Model)


def newest_page(
    request: Request,
    query: dict[str, str],
    rows: QuerySet[Row],
    show: Callable[[Sequence[Row]], list[Any]],
    fitting: Callable[[QuerySet[Row]], int] | None = None,
) -> dict[str, Any]:
    """Return the page that the query's cursor asks for, in the order of the key, newest first.

    One more row than is shown is read to find out whether there is a next page, so nothing is
    counted. `fitting` returns how many rows fit in the page. Raises Problem for an invalid cursor.
    """
    if "cursor" in query:
        rows = rows.filter(pk__lt=_read(query["cursor"], rows.model))
    rows = rows.order_by("-pk")
    size = fitting(rows) if fitting else PAGE_SIZE
    found = list(rows[: size + 1])
    page = found[:size]
    following = _next_url(request, query, page[-1].pk) if len(found) > size else None
    return {"results": show(page), "next": following}


def page_by_name(
    request: Request,
    query: dict[str, str],
    rows: QuerySet[Row],
    show: Callable[[Sequence[Row]], list[Any]],
) -> dict[str, Any]:
    """Return the page of rows in the order of their names; the cursor is the last name."""
    if name := parameters.text(query, "cursor"):
        rows = rows.filter(name__gt=name)
    found: list[Any] = list(rows.order_by("name")[: PAGE_SIZE + 1])
    page = found[:PAGE_SIZE]
    following = _url(request, query, page[-1].name) if len(found) > PAGE_SIZE else None
    return {"results": show(page), "next": following}


def _next_url(request: Request, query: dict[str, str], last: Any) -> str:
    cursor = base64.urlsafe_b64encode(str(last).encode()).decode().rstrip("=")
    return _url(request, query, cursor)


def _url(request: Request, query: dict[str, str], cursor: str) -> str:
    path = f"{request.path}?{urlencode({**query, 'cursor': cursor})}"
    return request._request.build_absolute_uri(path)


def _read(cursor: str, model: type[Model]) -> Any:
    """Return the key that is in the cursor."""
    padding = "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(cursor + padding, altchars=b"-_", validate=True).decode()
        key = model._meta.pk.to_python(text)
    except (ValueError, ValidationError) as error:
        raise Problem.of_parameter("cursor", "is none that a page gave") from error
    if str(key) != text:
        raise Problem.of_parameter("cursor", "is none that a page gave")
    return key
