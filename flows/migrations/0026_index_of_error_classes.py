from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class AddIndexWithoutLock(migrations.AddIndex):
    """On PostgreSQL dead letters can be made while the index is."""

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
    """Find the open dead letters of an error class, and count those of each."""

    atomic = False
    dependencies = [("flows", "0025_error_classes")]
    operations = [
        AddIndexWithoutLock(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("discarded_at", None), ("reprocessed_at", None)),
                fields=["error_class", "id", "step", "dead_at"],
                name="dead_letter_by_error",
            ),
        ),
    ]
