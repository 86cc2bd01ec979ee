from django.db import DatabaseError, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

INDEX = """
    CREATE INDEX CONCURRENTLY flows_deadletter_text ON flows_deadletter USING gin (
        upper("left"(error, 8192)) gin_trgm_ops, upper("left"(body, 8192)) gin_trgm_ops)
"""


def index_texts(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make an index for the search, where PostgreSQL has the extension and allows it.

    Without it the search looks at the newest ones, as long as it has time.
    """
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return
    # An attempt that was broken off leaves an index that is not valid.
    schema_editor.execute("DROP INDEX CONCURRENTLY IF EXISTS flows_deadletter_text")
    schema_editor.execute(INDEX)


def drop_index(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX CONCURRENTLY IF EXISTS flows_deadletter_text")


class Migration(migrations.Migration):
    """Find dead letters by text. They are few, and no insert of the hot path pays for it."""

    atomic = False
    dependencies = [("flows", "0026_index_of_error_classes")]
    operations = [migrations.RunPython(index_texts, drop_index)]
