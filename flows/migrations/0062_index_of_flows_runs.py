from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

NAME, MADE = "run_by_flow", "run_by_flow_made"
COLUMNS = "flow_version_id, correlation_id DESC"
HAS_ONE = "flow_version_id IS NOT NULL"


def limit(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _make(schema_editor, f" WHERE {HAS_ONE}")


def unlimit(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _make(schema_editor, "")


def _make(schema_editor: BaseDatabaseSchemaEditor, where: str) -> None:
    """Make the index anew beside the old one, while others read and write."""
    if schema_editor.connection.vendor != "postgresql":
        # SQLite looks keys up by the key, whatever it counts.
        return
    for statement in (
        # Of a migration that was interrupted.
        f"DROP INDEX CONCURRENTLY IF EXISTS {MADE}",
        f"CREATE INDEX CONCURRENTLY {MADE} ON flows_run ({COLUMNS}){where}",
        f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}",
        f"ALTER INDEX {MADE} RENAME TO {NAME}",
    ):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    """Keep the index of a flow's runs from being read for the sake of a run's id, on PostgreSQL.

    It has the id as its second column. Analyzed while most of its rows were gone, as after a purge,
    the table counts as nearly empty, and reading all of this index seemed as cheap as one look into
    that of the ids: with twenty thousand runs each look took milliseconds, until the next analyze.
    What has a condition is used only where a statement implies it, as each one for a flow does.
    """

    atomic = False

    dependencies = [("flows", "0061_alert_thresholds")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(limit, unlimit)],
            state_operations=[
                migrations.RemoveIndex(model_name="run", name=NAME),
                migrations.AddIndex(
                    model_name="run",
                    index=models.Index(
                        models.F("flow_version"),
                        models.OrderBy(models.F("correlation_id"), descending=True),
                        name=NAME,
                        condition=models.Q(("flow_version__isnull", False)),
                    ),
                ),
            ],
        )
    ]
