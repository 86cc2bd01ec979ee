"""Long texts on pages: a list leaves them out, a page shows their beginning and links the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from flows.admin.display import link
from flows.models.payload_text import beginning, length
from scripts.admin.base import preformatted
from scripts.admin.json_fields import pretty_json

# The most characters of a text that a page shows, and that a form edits.
SHOWN = 64 * 1024
EDITABLE = 1024 * 1024
# Indentation makes a deeply nested text many times as long.
MOST_INDENTED = 4 * SHOWN


class LongTexts(ModelAdmin):
    """For a model's admin: `long_texts` are the JSON fields that may be long.

    Lists read neither them nor `unlisted_texts`, which have no address of their own.
    """

    long_texts: tuple[str, ...] = ()
    unlisted_texts: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.long_texts, *self.unlisted_texts)

    def get_urls(self) -> list[URLPattern]:
        def view(field: str) -> Callable[..., HttpResponse]:
            def whole(request: HttpRequest, object_id: str) -> HttpResponse:
                return self._whole(request, object_id, field)

            return whole

        return [
            *(
                path(
                    f"<path:object_id>/{field}.json",
                    self.admin_site.admin_view(view(field)),
                    name=f"{self.opts.app_label}_{self.opts.model_name}_{field}",
                )
                for field in self.long_texts
            ),
            *super().get_urls(),
        ]

    def _whole(self, request: HttpRequest, object_id: str, field: str) -> HttpResponse:
        shown = self.get_object(request, object_id)
        if shown is None or getattr(shown, field) is None:
            raise Http404
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        response = HttpResponse(getattr(shown, field), content_type="application/json")
        name = f"{self.opts.model_name}-{shown.pk}-{field}.json"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def beginning_of(row: models.Model, field: str) -> tuple[str | None, str]:
    """Return what a page shows of a long text, indented, and its size if the page cuts it."""
    rows = type(row)._base_manager.filter(pk=row.pk)
    values = rows.values_list(beginning(field, SHOWN), length(field)).first()
    text, size = values or (None, 0)
    if text is None:
        return None, ""
    if size > SHOWN:
        return text, filesizeformat(size)
    indented = pretty_json(text)
    return (indented if len(indented) <= MOST_INDENTED else text), ""


def is_longer_than(row: models.Model, field: str, most: int) -> bool:
    rows = type(row)._base_manager.filter(pk=row.pk)
    return rows.annotate(length=length(field)).filter(length__gt=most).exists()


def whole_url(row: models.Model, field: str) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{field}", args=[row.pk])


def shown_text(row: models.Model, field: str) -> SafeString:
    """Return a block with a long text's beginning and a link to the whole."""
    text, size = beginning_of(row, field)
    block = preformatted(text or "")
    whole = link(whole_url(row, field), "Download the whole")
    if size:
        return format_html(
            '{}<p class="mt-2">The first {} of {}. {}</p>',
            block,
            filesizeformat(SHOWN),
            size,
            whole,
        )
    return format_html('{}<p class="mt-2">{}</p>', block, whole)
