"""Loads the pages late in commands that show none.

Django's admin imports the pages of all apps when a process starts: a third of what that takes. The
commands below leave it until the first addresses of a site are asked for, which most never do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig, SimpleAdminConfig
from django.contrib.admin.sites import AdminSite

# Their checks need no pages either, see `scripts.checks.ENGINE`.
COMMANDS_WITHOUT_PAGES = frozenset(
    {
        *("check_conservation", "config", "dead_letters", "purge", "qcluster", "runs", "start"),
        *("archive", "erase", "state", "rotate_secrets", "script", "secrets", "tables", "up"),
        *("rotate_payloads", "values"),
    }
)


def install(arguments: Sequence[str] | None = None) -> None:
    """Have the pages loaded late if the command that this process runs shows none."""
    command = (sys.argv if arguments is None else arguments)[1:2]
    if COMMANDS_WITHOUT_PAGES.isdisjoint(command):
        return
    AdminConfig.ready = SimpleAdminConfig.ready  # type: ignore[method-assign]
    AdminSite.get_urls = _with_pages(AdminSite.get_urls)  # type: ignore[method-assign]


def _with_pages(get_urls: Callable[[AdminSite], list[Any]]) -> Any:
    @wraps(get_urls)
    def with_pages(site: AdminSite) -> list[Any]:
        # Imports what is not imported yet; a page that asks for addresses meanwhile gets them.
        admin.autodiscover()
        return get_urls(site)

    return with_pages
