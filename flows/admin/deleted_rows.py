"""Leaves rows of many-to-many tables out of the page of a deletion: they have no name to show."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.text import capfirst


def without_relations(deleted: list[Any]) -> list[Any]:
    """Return the nested lines of a deletion without those of the tables that Django adds."""
    models = apps.get_models(include_auto_created=True)
    names = (capfirst(each._meta.verbose_name) for each in models if each._meta.auto_created)
    return _without(deleted, tuple(f"{name}: " for name in names))


def _without(lines: list[Any], starts: tuple[str, ...]) -> list[Any]:
    kept: list[Any] = []
    for line in lines:
        if isinstance(line, list):
            if inner := _without(line, starts):
                kept.append(inner)
        elif not str(line).startswith(starts):
            kept.append(line)
    return kept
