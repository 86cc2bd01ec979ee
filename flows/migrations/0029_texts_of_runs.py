import time
from typing import Any

import django.db.models.deletion
from django.db import DatabaseError, OperationalError, migrations, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TRIES = 60

TRIGRAMS = """
    CREATE INDEX IF NOT EXISTS flows_runtext_trigrams ON flows_runtext
    USING gin (upper(text) gin_trgm_ops)
"""
# A migration that has SQLite rebuild the table of texts must make the triggers anew.
FTS5 = (
    "CREATE VIRTUAL TABLE flows_runtext_index USING fts5("
    "text, content='flows_runtext', content_rowid='id', tokenize='trigram')",
    "CREATE TRIGGER flows_runtext_added AFTER INSERT ON flows_runtext BEGIN"
    " INSERT INTO flows_runtext_index (rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER flows_runtext_removed AFTER DELETE ON flows_runtext BEGIN"
    " INSERT INTO flows_runtext_index (flows_runtext_index, rowid, text)"
    " VALUES ('delete', old.id, old.text); END",
)
NO_FTS5 = (
    "DROP TRIGGER IF EXISTS flows_runtext_added",
    "DROP TRIGGER IF EXISTS flows_runtext_removed",
    "DROP TABLE IF EXISTS flows_runtext_index",
)


class AddFieldWithoutQueue(migrations.AddField):
    """On PostgreSQL it waits 2 s for its lock, then lets those go first that wait behind it.

    The lock is held for a moment, but a page that reads for a minute keeps it away for as long, and
    meanwhile no run could start.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, *states)
            return
        for tries_left in reversed(range(TRIES)):
            try:
                with transaction.atomic(using=schema_editor.connection.alias):
                    schema_editor.execute("SET LOCAL lock_timeout = '2s'")
                    super().database_forwards(app_label, schema_editor, *states)
                    schema_editor.execute("SET LOCAL lock_timeout TO DEFAULT")
                return
            except OperationalError:
                if not tries_left:
                    raise
                time.sleep(1)


def index_texts(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the index of the search. The table is new and empty: no lock is held for long.

    Where the database lacks the extension, the search looks at the newest texts as far as it has
    time.
    """
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    wanted = ("CREATE EXTENSION IF NOT EXISTS pg_trgm", TRIGRAMS) if is_postgresql else FTS5
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            for statement in wanted:
                schema_editor.execute(statement)
    except DatabaseError:
        return


def drop_index(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for statement in NO_FTS5:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    """Add tables for the search of runs by text, and the run that a run repeats."""

    dependencies = [("flows", "0028_help_on_every_field")]

    operations = [
        AddFieldWithoutQueue(
            model_name="run",
            name="repeats",
            field=models.UUIDField(
                help_text="The run whose payload it was started with.", null=True
            ),
        ),
        migrations.CreateModel(
            name="RunText",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.TextField(help_text="Payloads, results and errors, a line each.")),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="flows.run",
                    ),
                ),
            ],
            options={"ordering": ["id"]},
        ),
        migrations.CreateModel(
            name="RunTextMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first", models.BigIntegerField(default=0)),
                ("last", models.BigIntegerField(default=0)),
                ("seen", models.BigIntegerField(default=0)),
                ("seen_at", models.DateTimeField()),
                ("since", models.DateTimeField(help_text="Null: from the beginning.", null=True)),
                ("until", models.DateTimeField(help_text="Null: none is there yet.", null=True)),
            ],
        ),
        migrations.RunPython(index_texts, drop_index),
    ]
