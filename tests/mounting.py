"""The settings of a project that has the engine below an include."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from django.urls import include, path, re_path

from flows.front.mount import Mount


def mount(settings: Any, url: str) -> None:
    """Have the engine below `engine/`; `url` is ASYNCENGINE_URL."""
    addresses: Any = ModuleType("addresses of a project")
    engine = re_path(r"^(?P<rest>(?s:.*))$", Mount("asyncengine.own_urls"), name="asyncengine")
    addresses.urlpatterns = [path("engine/", include([engine]))]
    settings.ROOT_URLCONF, settings.ASYNCENGINE_MOUNTED = addresses, True
    settings.ASYNCENGINE_URL = url
