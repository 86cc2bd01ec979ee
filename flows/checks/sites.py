"""What an admin site of a project's own needs: pages of every site are unfold's here."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import AdminSite, all_sites
from django.core.checks import CheckMessage, Warning, register
from django.utils.module_loading import import_string
from unfold.sites import UnfoldAdminSite


@register()
def sites_are_those_of_unfold(**kwargs: Any) -> list[CheckMessage]:
    return [*_plain_sites(), *_sites_put_aside()]


def _plain_sites() -> list[CheckMessage]:
    """Name the sites with pages whose templates, which are unfold's, do not find what they need."""
    return [
        Warning(
            f"The admin site {site.name!r} is no UnfoldAdminSite: each of its pages is an error"
            " 500, for the templates of the admin are unfold's.",
            hint="Make it a subclass of unfold.sites.UnfoldAdminSite.",
            id="flows.W015",
        )
        for site in sorted(all_sites, key=lambda site: site.name)
        if site._registry and not isinstance(site, UnfoldAdminSite)
    ]


def _sites_put_aside() -> list[CheckMessage]:
    config: Any = apps.get_app_config("admin")
    wanted = import_string(config.default_site)
    if wanted is AdminSite or isinstance(admin.site, wanted):
        return []
    return [
        Warning(
            f"{config.default_site} is not used: unfold puts a site of its own in its place.",
            hint="Write unfold.apps.BasicAppConfig in place of unfold in INSTALLED_APPS.",
            id="flows.W016",
        )
    ]
