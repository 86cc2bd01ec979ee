"""What Django makes anew for each page, and need not for tests that look at thousands of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.templatetags.static import StaticNode
from django.utils.functional import SimpleLazyObject

client: Any = import_module("django.test.client")


@contextmanager
def made_seldom() -> Iterator[None]:
    """Make the list of all apps when something reads it, and the address of each static file once.

    Every page has the list in its context, and the sidebar of the engine reads another one. Of the
    contexts of a page the first is copied, that of the view, and none for each template that it
    includes.
    """
    list_apps, address = AdminSite.get_app_list, StaticNode.handle_simple
    store = client.store_rendered_templates
    known: dict[str, str] = {}

    def get_app_list(site: AdminSite, request: HttpRequest, app_label: str | None = None) -> Any:
        if app_label is not None:
            return list_apps(site, request, app_label)
        return SimpleLazyObject(lambda: list_apps(site, request))

    def handle_simple(_: type[StaticNode], path: str) -> str:
        if path not in known:
            known[path] = address(path)
        return known[path]

    def store_first(store_of_page: dict[str, Any], **rendered: Any) -> None:
        if not store_of_page:
            store(store_of_page, **rendered)

    def forget(**_: Any) -> None:
        known.clear()

    setting_changed.connect(forget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdminSite, "get_app_list", get_app_list)
        patch.setattr(StaticNode, "handle_simple", classmethod(handle_simple))
        patch.setattr(client, "store_rendered_templates", store_first)
        yield
    setting_changed.disconnect(forget)
