from __future__ import annotations

from uuid import uuid4

from django.db import connection, models

from flows.models.revision_triggers import LOCK_MODE


class ConfigurationRevision(models.Model):
    """The revision of the configuration: one row with a token that each change replaces.

    Triggers replace the token, see revision_triggers.py. Processes cache plans under it.
    """

    token = models.UUIDField(default=uuid4)

    def __str__(self) -> str:
        return str(self.token)

    @classmethod
    def lock(cls) -> None:
        """Lock the configuration against changes by other transactions until this one ends."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {cls._meta.db_table} IN {LOCK_MODE} MODE")
        cls.objects.get_or_create(pk=1)

    @classmethod
    def current(cls) -> str:
        """Return the token as text. Every start reads it, so it is read without a QuerySet."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT token FROM flows_configurationrevision")
            row = cursor.fetchone()
        return str(row[0]) if row else ""
