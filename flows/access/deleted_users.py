"""Refuses to delete users that records name: the record would lose its author."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import models
from django.db.models.signals import pre_delete

from flows.models.users import user_models

DEACTIVATE = "Deactivate the user instead."
RECORDS = frozenset({"flows", "scripts"})


def connect() -> None:
    for model in user_models():
        pre_delete.connect(refuse, sender=model, dispatch_uid="user-with-record")


def refuse(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Refuse the deletion. Raises ProtectedError with the rows that name the user."""
    found = list(rows_that_name(instance))
    if found:
        names = ", ".join(str(rows.model._meta.verbose_name_plural) for rows in found)
        message = f"Records name {instance}: {names}. {DEACTIVATE}"
        raise models.ProtectedError(message, {row for rows in found for row in rows[:1]})


def rows_that_name(user: Any) -> Iterator[models.QuerySet[Any]]:
    """Yield by model the rows that would lose the user, or be deleted with the user."""
    for relation in user._meta.get_fields(include_hidden=True):
        if not (relation.auto_created and not relation.concrete and relation.is_relation):
            continue
        field = getattr(relation, "field", None)
        if field is None or relation.many_to_many:
            continue
        model = relation.related_model
        # The models of a project determine what happens to its own rows.
        is_own = relation.on_delete is models.SET_NULL and model._meta.app_label in RECORDS
        is_record = is_own or model is LogEntry
        if is_record:
            rows = relation.related_model._base_manager.filter(**{field.name: user.pk})
            if rows.exists():
                yield rows
