"""The addresses of an installation; in a project with pages of its own, what it includes."""

from typing import Any

from django.conf import settings
from django.urls import re_path

from flows.front.mount import Mount

if getattr(settings, "ASYNCENGINE_MOUNTED", False):
    urlpatterns: list[Any] = [
        re_path(r"^(?P<rest>(?s:.*))$", Mount("asyncengine.own_urls"), name="asyncengine")
    ]
else:
    from asyncengine.own_urls import *  # noqa: F403
