"""Checks of a project's own admin sites: every site uses the templates of unfold."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import AdminSite, all_sites
from django.core.checks import CheckMessage, Tags, Warning, register
from django.utils.module_loading import import_string
from unfold.sites import UnfoldAdminSite

from flows.front.mount import is_mounted


@register(Tags.admin)
def sites_are_those_of_unfold(**kwargs: Any) -> list[CheckMessage]:
    # Where the engine is mounted, its site and the project's have templates of their own.
    return [] if is_mounted() else [*_plain_sites(), *_replaced_sites()]


def _plain_sites() -> list[CheckMessage]:
    """Warn of each site that lacks the context that the templates of unfold need."""
    return [
        Warning(
            f"The admin site {site.name!r} is no UnfoldAdminSite: each of its pages fails with an"
            " error 500, since the templates of the admin are those of unfold.",
            hint="Make it a subclass of unfold.sites.UnfoldAdminSite.",
            id="flows.W015",
        )
        for site in sorted(all_sites, key=lambda site: site.name)
        if site._registry and not isinstance(site, UnfoldAdminSite)
    ]


def _replaced_sites() -> list[CheckMessage]:
    config: Any = apps.get_app_config("admin")
    default = import_string(config.default_site)
    if default is AdminSite or isinstance(admin.site, default):
        return []
    return [
        Warning(
            f"{config.default_site} is not used: unfold replaces it by a site of its own.",
            hint="Replace unfold by unfold.apps.BasicAppConfig in INSTALLED_APPS.",
            id="flows.W016",
        )
    ]
