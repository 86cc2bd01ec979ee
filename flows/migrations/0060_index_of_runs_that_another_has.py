import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TABLE, COLUMN = "flows_run", "flow_version_id"


def drop(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the index of the column alone. SQLite would otherwise make the whole table anew."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, TABLE)
    concurrently = "CONCURRENTLY " if connection.vendor == "postgresql" else ""
    for name, each in found.items():
        if each["index"] and each["columns"] == [COLUMN] and not each["unique"]:
            quoted = schema_editor.quote_name(name)
            schema_editor.execute(f"DROP INDEX {concurrently}IF EXISTS {quoted}")


def create(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    concurrently = "CONCURRENTLY " if schema_editor.connection.vendor == "postgresql" else ""
    schema_editor.execute(
        f"CREATE INDEX {concurrently}IF NOT EXISTS {TABLE}_{COLUMN} ON {TABLE} ({COLUMN})"
    )


class Migration(migrations.Migration):
    """Drop the index of the versions of runs: `run_by_flow` begins with the same column.

    A start writes one row less to an index. Processes of before need it no more than those of now.
    """

    atomic = False

    dependencies = [("flows", "0059_archives_of_flows")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop, create)],
            state_operations=[
                migrations.AlterField(
                    model_name="run",
                    name="flow_version",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="flows.flowversion",
                    ),
                )
            ],
        )
    ]
