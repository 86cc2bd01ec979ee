"""The first page of the Configuration Manager: the context that unfold asks for."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from flows.admin.home import home


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of the page what the user may see."""
    return context | home(request)
