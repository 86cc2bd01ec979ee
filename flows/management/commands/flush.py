from typing import Any

from django.core.management.commands.flush import Command as DjangoCommand
from django.db import connections

from flows.models import audit_triggers


class Command(DjangoCommand):
    """Django's command, which empties every table: the audit log's, too."""

    def handle(self, **options: Any) -> None:
        connection = connections[options["database"]]
        if connection.vendor != "sqlite":
            # Others truncate the tables, for which no trigger runs.
            super().handle(**options)
            return
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER IF EXISTS {audit_triggers.TABLE}_keep_delete")
        try:
            super().handle(**options)
        finally:
            audit_triggers.ensure_triggers(connection.alias)
