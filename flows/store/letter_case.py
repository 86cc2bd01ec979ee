"""Upper and lower case where a text is looked for."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection


def in_both_cases(text: str) -> Collection[str]:
    """Return the forms to look for: SQLite knows upper and lower case of ASCII letters alone."""
    if connection.vendor != "sqlite" or text.isascii():
        return [text]
    return dict.fromkeys((text, text.lower(), text.upper(), text.title()))
