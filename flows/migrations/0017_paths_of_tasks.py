from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# The functions of schedules, where they were and where they are.
MOVED = {
    "flows.retention.purge": "flows.tasks.retention.purge",
    "flows.reprocessing.advance": "flows.tasks.reprocessing.advance",
}


def follow(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    rename(apps, schema_editor, MOVED)


def go_back(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    rename(apps, schema_editor, {new: old for old, new in MOVED.items()})


def rename(
    apps: StateApps, schema_editor: BaseDatabaseSchemaEditor, paths: dict[str, str]
) -> None:
    """Change the paths in schedules. Tasks that are queued are signed; the broker knows both."""
    schedules = apps.get_model("django_q", "Schedule").objects.using(schema_editor.connection.alias)
    for column in ("func", "hook"):
        for old, new in paths.items():
            schedules.filter(**{column: old}).update(**{column: new})


class Migration(migrations.Migration):
    dependencies = [
        ("flows", "0016_cache_of_tasks"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [migrations.RunPython(follow, go_back)]
