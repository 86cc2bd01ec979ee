"""An admin site of the project's own, in place of Django's."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig
from unfold.sites import UnfoldAdminSite


class ShopSite(UnfoldAdminSite):
    site_header = "Shop"


class ShopAdminConfig(AdminConfig):
    default_site = "shop.site.ShopSite"
