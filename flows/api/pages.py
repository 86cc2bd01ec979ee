"""Lists in pages, by a key or by name. Callers do not interpret the cursor."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.encoding import escape_uri_path
from rest_framework.request import Request

from flows.api import parameters
from flows.api.errors import Problem
from flows.options import can_be_a_name

PAGE_SIZE = 100
LARGEST_PAGE = 500
# What every list takes.
PAGE_PARAMETERS = frozenset({"pageSize", "cursor"})
# It is in no key and in no time as text.
BETWEEN = "|"

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a page: by a field and then by the key, or by the key alone.

    `by_index`: the database goes along the index of the order until the page is full. Else it looks
    at all rows and sorts those that match, which is faster where few do.
    """

    field: str = "pk"
    is_descending: bool = True
    by_index: bool = True
    key: str = "pk"

    @property
    def fields(self) -> list[str]:
        return [self.key] if self.field == self.key else [self.field, self.key]

    def apply(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        if self.field == "pk" and not self.by_index:
            # The same order, and the index of the key does not help with it.
            text = Cast("pk", TextField())
            return rows.order_by(text.desc() if self.is_descending else text.asc())
        return rows.order_by(*(f"-{f}" if self.is_descending else f for f in self.fields))

    def after(self, values: Sequence[Any]) -> Q:
        """Return the condition of the rows behind the one with these values."""
        side = "lt" if self.is_descending else "gt"
        *first, key = values
        if not first:
            return Q(**{f"{self.key}__{side}": key})
        # The first part alone bounds what the database has to look at.
        bound = Q(**{f"{self.field}__{side}e": first[0]})
        later = Q(**{f"{self.field}__{side}": first[0]}) | Q(**{f"{self.key}__{side}": key})
        return bound & later


NEWEST_FIRST = Order()


def page_of_rows(
    request: Request,
    query: Mapping[str, Any],
    rows: QuerySet[Row],
    show: Callable[[Sequence[Row]], list[Any]],
    *,
    order: Order = NEWEST_FIRST,
    fitting: Callable[[QuerySet[Row], int], int] | None = None,
) -> dict[str, Any]:
    """Return the page that the query's `cursor` and `pageSize` ask for.

    One more row than is shown is read to find out whether there is a next page, so nothing is
    counted. `fitting` returns how many of the rows fit in a page of that size. Raises Problem for
    an invalid parameter.
    """
    most = _page_size(query)
    if "cursor" in query:
        rows = rows.filter(order.after(_read(query["cursor"], rows.model, order)))
    if fitting:
        most = fitting(order.apply(rows), most)
    page, has_next = _first(rows, order, most)
    return _page(request, query, show(page), _cursor_of(page[-1], order) if has_next else None)


def _first(rows: QuerySet[Row], order: Order, most: int) -> tuple[list[Row], bool]:
    """Return the first rows, and whether others follow.

    Without an index the keys alone are sorted: with what is selected beside each row it takes three
    times as long. A row that no longer matches when it is read itself is left out, and the list
    goes on behind it.
    """
    if order.by_index:
        found = list(order.apply(rows)[: most + 1])
        return found[:most], len(found) > most
    in_order = order.apply(rows.select_related(None)).values_list("pk", flat=True)
    while True:
        keys = list(in_order[: most + 1])
        by_key = rows.in_bulk(keys[:most])
        found = [by_key[key] for key in keys[:most] if key in by_key]
        if found or len(keys) <= most:
            return found, len(keys) > most


def page_by_name(
    request: Request,
    query: dict[str, str],
    rows: QuerySet[Row],
    show: Callable[[Sequence[Row]], list[Any]],
) -> dict[str, Any]:
    """Return the page of rows in the order of their names; the cursor is the last name.

    Raises Problem for an invalid parameter.
    """
    most = _page_size(query)
    if name := parameters.text(query, "cursor"):
        rows = rows.filter(name__gt=name)
    found: list[Any] = list(rows.order_by("name")[: most + 1])
    page = found[:most]
    cursor = page[-1].name if len(found) > most else None
    return _page(request, query, show(page), cursor)


def _page_size(query: Mapping[str, Any]) -> int:
    return parameters.whole_number(query, "pageSize", 1, LARGEST_PAGE) or PAGE_SIZE


def _page(
    request: Request, query: Mapping[str, Any], results: list[Any], cursor: str | None
) -> dict[str, Any]:
    following = None if cursor is None else _url(request, query, cursor)
    return {"results": results, "next": following, "nextCursor": cursor}


def _url(request: Request, query: Mapping[str, Any], cursor: str) -> str:
    path = f"{escape_uri_path(request.path)}?{urlencode({**query, 'cursor': cursor}, doseq=True)}"
    return request._request.build_absolute_uri(path)


def _cursor_of(row: Any, order: Order) -> str:
    text = BETWEEN.join(_as_text(getattr(row, name)) for name in order.fields)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _as_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _read(cursor: str, model: type[Model], order: Order) -> list[Any]:
    """Return the values that are in the cursor, one for each field of the order."""
    padding = "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(cursor + padding, altchars=b"-_", validate=True).decode()
        parts = text.split(BETWEEN)
        fields: list[Any] = [
            model._meta.pk if name == "pk" else model._meta.get_field(name) for name in order.fields
        ]
        values = [field.to_python(part) for field, part in zip(fields, parts, strict=True)]
    except (ValueError, ValidationError) as error:
        raise Problem.of_parameter("cursor", "is none that a page gave") from error
    if BETWEEN.join(map(_as_text, values)) != text or not all(map(_can_be_stored, values)):
        raise Problem.of_parameter("cursor", "is none that a page gave")
    return values


def _can_be_stored(value: Any) -> bool:
    """Say whether a row may have the value."""
    if isinstance(value, datetime):
        # Near the ends of the calendar the time in UTC may be beyond them.
        return timezone.is_aware(value) and value.year not in (MINYEAR, MAXYEAR)
    return not isinstance(value, str) or can_be_a_name(value)
