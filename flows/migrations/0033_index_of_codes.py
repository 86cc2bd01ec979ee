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
    """Find the open dead letters of a code that scripts have given."""

    atomic = False
    dependencies = [("flows", "0032_codes_of_dead_letters")]
    operations = [
        AddIndexWithoutLock(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(
                    ("code__isnull", False), ("discarded_at", None), ("reprocessed_at", None)
                ),
                fields=["code", "id", "step"],
                name="dead_letter_by_code",
            ),
        ),
    ]
