"""Keeps the configuration revision in step with every change of the configuration."""

from typing import Any

from django.db.models.signals import post_delete, post_save

from flows.models import ConfigurationRevision, Flow, Queue, RoleMapping, Step
from scripts.models import Library, Script


def connect() -> None:
    for model in (Flow, Library, Queue, RoleMapping, Script, Step):
        post_save.connect(note_change, sender=model, dispatch_uid=f"{model.__name__}-saved")
        post_delete.connect(note_change, sender=model, dispatch_uid=f"{model.__name__}-deleted")


def note_change(sender: Any, raw: bool = False, **kwargs: Any) -> None:
    if not raw:
        ConfigurationRevision.advance()
