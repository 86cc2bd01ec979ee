from django.db import migrations

# A message moves from step to step by updates: room on its page keeps them off the indexes.
# Its table is small and changes all the time, so it is cleaned up by number, not by share.
TUNING = {
    "flows_message": "fillfactor = 25, autovacuum_vacuum_scale_factor = 0.0,"
    " autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0",
    "flows_run": "fillfactor = 80",
    "flows_queuestate": "fillfactor = 10",
    "flows_consumer": "fillfactor = 10",
}


def tune(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table, parameters in TUNING.items():
            schema_editor.execute(f"ALTER TABLE {table} SET ({parameters})")


class Migration(migrations.Migration):
    dependencies = [("flows", "0001_configuration_and_runtime")]

    operations = [migrations.RunPython(tune, migrations.RunPython.noop)]
