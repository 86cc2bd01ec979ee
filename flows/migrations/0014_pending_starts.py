from django.db import migrations

from flows.store.pending_starts import install


def make(apps, schema_editor):
    install(schema_editor.connection)


def remove(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TABLE IF EXISTS flows_pendingstart")
        schema_editor.execute("DROP FUNCTION IF EXISTS flows_count_starts, flows_take_room")


class Migration(migrations.Migration):
    dependencies = [("flows", "0013_delayed_starts_apart")]

    operations = [migrations.RunPython(make, remove)]
