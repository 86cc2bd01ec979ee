"""The admin site of the engine's pages.

It is the project's, or one of ours where `asyncengine.settings_for` adds the engine to a project
that has a site of its own.
"""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.contrib import admin
from unfold.sites import UnfoldAdminSite

IS_OWN = getattr(settings, "ASYNCENGINE_MOUNTED", False)
# Its pages have URLs of their own, so that it may have the name of the other one.
site: admin.AdminSite = UnfoldAdminSite() if IS_OWN else admin.site
register = partial(admin.register, site=site)
