"""Where the documentation is."""

from __future__ import annotations

from django.conf import settings
from django.urls import NoReverseMatch, reverse


def documentation() -> str:
    """Return its path, or "" in a project with addresses of its own that has left it out."""
    try:
        return reverse("documentation:first")
    except NoReverseMatch:
        return ""


def public_documentation() -> str:
    """Return its address as callers see it: absolute where the public address is known."""
    if settings.ASYNCENGINE_URL and documentation():
        return f"{settings.ASYNCENGINE_URL}/async/docs/"
    return documentation()
