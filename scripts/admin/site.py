"""The admin site of the engine's pages.

It is the project's, or one of ours where `asyncengine.settings_for` adds the engine to a project
that has a site of its own.
"""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.contrib import admin
from unfold.sites import UnfoldAdminSite


class EngineSite(UnfoldAdminSite):
    """A site of ours, whatever a project says of its own site of unfold's."""

    settings_name = "ASYNCENGINE_UNFOLD"


IS_OWN = getattr(settings, "ASYNCENGINE_MOUNTED", False)
# Its pages have URLs of their own, so that it may have the name of the other one.
site: admin.AdminSite = EngineSite() if IS_OWN else admin.site
register = partial(admin.register, site=site)
