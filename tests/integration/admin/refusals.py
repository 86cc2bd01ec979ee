"""Pages that refuse, rendered once each where a test asks for hundreds of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.http import HttpRequest, HttpResponse

from flows.admin import error_pages


@contextmanager
def rendered_once() -> Iterator[None]:
    """Answer as the page of the same user, status and text before; only the address differs."""
    render = error_pages.page
    rendered: dict[tuple[object, ...], bytes] = {}

    def page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
        key = (request.user.pk, "HX-Request" in request.headers, status, title, text)
        if key not in rendered:
            response = render(request, status, title, text)
            rendered[key] = response.content
            return response
        return HttpResponse(rendered[key], status=status)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(error_pages, "page", page)
        yield
