from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from flows.store.pending_starts import COUNT_STARTS, install

OLD_INDEX = models.Index(
    "queue",
    condition=models.Q(queue__isnull=False, let_through=True),
    name="message_let_through",
)
NEW_INDEX = models.Index(
    "queue",
    condition=models.Q(queue__isnull=False, bypasses_pause=True),
    name="message_bypasses_pause",
)
# Fields whose help texts alone are other ones.
TEXTS = {
    ("message", "bypasses_pause"): models.BooleanField(
        default=False, help_text="It goes on although its queue or flow is paused."
    ),
    ("message", "consumer"): models.ForeignKey(
        "flows.consumer",
        null=True,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="messages",
        help_text="The session that holds it.",
    ),
    ("reprocessing", "due_at"): models.DateTimeField(
        help_text="If no worker has touched it by then, another task is queued."
    ),
    ("reprocessing", "fencing_token"): models.BigIntegerField(
        default=0, help_text="A task that was queued with an older one writes nothing."
    ),
}


def rename_index(schema_editor: BaseDatabaseSchemaEditor, old: str, new: str) -> None:
    """Rename the index while its column has the new name; SQLite makes it anew."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"ALTER INDEX {old} RENAME TO {new}")
        return
    schema_editor.execute(f"DROP INDEX {old}")
    schema_editor.execute(
        f"CREATE INDEX {new} ON flows_message (queue_id)"
        " WHERE (bypasses_pause AND queue_id IS NOT NULL)"
    )


def follow(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    rename_index(schema_editor, OLD_INDEX.name, NEW_INDEX.name)
    # The function that counts starts names the table of totals.
    install(schema_editor.connection)


def go_back(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    rename_index(schema_editor, NEW_INDEX.name, OLD_INDEX.name)
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(COUNT_STARTS.replace("flows_flowtotals", "flows_tally"))


class Migration(migrations.Migration):
    """Rename what has a standard term. No row is rewritten: both databases rename in place."""

    dependencies = [("flows", "0017_paths_of_tasks")]

    operations = [
        migrations.RenameModel("Tally", "FlowTotals"),
        migrations.RenameField("consumer", "attention", "cancel_requested"),
        migrations.RenameField("message", "let_through", "bypasses_pause"),
        migrations.RenameField("message", "spilled", "pending_outputs"),
        migrations.RenameField("reprocessing", "turn", "fencing_token"),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(follow, go_back)],
            state_operations=[
                migrations.RemoveIndex("message", OLD_INDEX.name),
                migrations.AddIndex("message", NEW_INDEX),
                *(migrations.AlterField(*place, field) for place, field in TEXTS.items()),
            ],
        ),
    ]
