from __future__ import annotations

from uuid import uuid4

from django.db import connection, models


class ConfigurationRevision(models.Model):
    """One row whose token changes with every change, so that a process sees it at once.

    Triggers change it, see revision_triggers.py. It is random: a number that was counted and
    rolled back would come again for another state.
    """

    token = models.UUIDField(default=uuid4)

    def __str__(self) -> str:
        return str(self.token)

    @classmethod
    def lock(cls) -> None:
        """Let no other transaction change the configuration until this one ends."""
        cls.objects.get_or_create(pk=1)
        cls.objects.select_for_update().get(pk=1)

    @classmethod
    def current(cls) -> str:
        """Return the token as text; every start asks, so it is read without a QuerySet."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT token FROM flows_configurationrevision")
            row = cursor.fetchone()
        return str(row[0]) if row else ""
