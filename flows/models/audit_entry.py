"""The audit log: who changed or did what, when and from where."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

NEVER_CHANGED = "Entries of the audit log are never changed or deleted."


class Source(models.TextChoices):
    ADMIN = "admin", "Configuration Manager"
    API = "api", "API"
    COMMAND = "command", "Command"
    TASK = "task", "Task"
    CODE = "code", "Python code"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Adds entries, and neither changes nor deletes any."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError(NEVER_CHANGED)

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NEVER_CHANGED)

    def update_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NEVER_CHANGED)

    def delete(self) -> NoReturn:
        raise TypeError(NEVER_CHANGED)

    def older_than(self, time: datetime) -> AuditEntryQuerySet:
        return self.filter(at__lt=time)


class AuditEntry(models.Model):
    """One change or action. It refers to others by text alone, so it outlives all of them."""

    Source = Source

    at = models.DateTimeField("time", default=timezone.now, db_index=True)
    actor = models.CharField(
        "who", max_length=254, blank=True, help_text="The user's name; empty: not known."
    )
    actor_id = models.CharField(
        max_length=64, blank=True, help_text="The user's id; empty: a user of the system."
    )
    source = models.CharField("from", max_length=16, choices=Source)
    address = models.CharField(max_length=64, blank=True, help_text="The caller's address.")
    verb = models.CharField("what", max_length=32)
    kind = models.CharField("kind", max_length=32)
    name = models.CharField("name", max_length=254, blank=True)
    target_id = models.CharField("id", max_length=64, blank=True)
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    reason = models.TextField(blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "entry of the audit log"
        verbose_name_plural = "audit log"
        default_permissions = ("view",)
        indexes = [
            # The pages show the newest first.
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["verb", "-id"], name="audit_by_verb"),
            models.Index(fields=["kind", "name", "-id"], name="audit_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor or 'unknown'}: {self.verb} {self.kind} {self.name}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(NEVER_CHANGED)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NEVER_CHANGED)
