from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class AddIndexWithoutLock(migrations.AddIndex):
    """On PostgreSQL runs can be started while the index is."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        editor: Any = schema_editor
        # An attempt that was broken off leaves an index that is not valid.
        editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
        model = to_state.apps.get_model(app_label, self.model_name)
        editor.add_index(model, self.index, concurrently=True)


class Migration(migrations.Migration):
    """Find the runs that repeat a run."""

    atomic = False
    dependencies = [("flows", "0049_start_rates")]
    operations = [
        AddIndexWithoutLock(
            model_name="run",
            index=models.Index(
                condition=models.Q(("repeats__isnull", False)),
                fields=["repeats", "correlation_id"],
                name="run_by_repeats",
            ),
        ),
    ]
