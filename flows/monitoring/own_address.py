"""Addresses of the engine for those who read them outside of a request: in webhooks and alerts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import get_script_prefix, reverse

# The addresses below the include of a project: its own have the include alone.
BELOW_INCLUDE = "asyncengine.own_urls"


def own_address(name: str, *args: Any) -> str:
    """Return the address of a page or an operation by its name.

    It is whole where ASYNCENGINE_URL is set, which leads to the engine; else it is a path.
    """
    is_mounted = getattr(settings, "ASYNCENGINE_MOUNTED", False)
    path = reverse(name, BELOW_INCLUDE if is_mounted else None, args)
    # The threads of a worker do not have the prefix of ASYNCENGINE_URL.
    rest = path.removeprefix(get_script_prefix())
    if settings.ASYNCENGINE_URL:
        return f"{settings.ASYNCENGINE_URL.rstrip('/')}/{rest}"
    return reverse("asyncengine", kwargs={"rest": rest}) if is_mounted else path
