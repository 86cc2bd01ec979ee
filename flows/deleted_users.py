"""A user who has done something is not deleted, since the record of it would lose its actor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models.signals import pre_delete

DEACTIVATE = "Deactivate the user instead."


def connect() -> None:
    pre_delete.connect(refuse, sender=get_user_model(), dispatch_uid="user-with-record")


def refuse(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Refuse the deletion. Raises ProtectedError with the rows that name the user."""
    found = list(rows_that_name(instance))
    if found:
        names = ", ".join(str(rows.model._meta.verbose_name_plural) for rows in found)
        message = f"{instance} stands in what was recorded: {names}. {DEACTIVATE}"
        raise models.ProtectedError(message, {row for rows in found for row in rows[:1]})


def rows_that_name(user: Any) -> Iterator[models.QuerySet[Any]]:
    """Yield by model the rows that would lose the user, or be lost with the user."""
    for relation in user._meta.get_fields(include_hidden=True):
        if not (relation.auto_created and not relation.concrete and relation.is_relation):
            continue
        field = getattr(relation, "field", None)
        if field is None or relation.many_to_many:
            continue
        is_record = relation.on_delete is models.SET_NULL or relation.related_model is LogEntry
        if is_record:
            rows = relation.related_model._base_manager.filter(**{field.name: user.pk})
            if rows.exists():
                yield rows
