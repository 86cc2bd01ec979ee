"""The schedules of the engine's own tasks, as rows of django-q2."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django_q.models import Schedule


def ensure(name: str, using: str, **fields: Any) -> None:
    """Make a schedule without an end. One that is there already stays as it was set.

    Nothing is done where `migrate` has not made the table of schedules yet.
    """
    if Schedule._meta.db_table in connections[using].introspection.table_names():
        Schedule.objects.using(using).get_or_create(name=name, defaults={"repeats": -1, **fields})
