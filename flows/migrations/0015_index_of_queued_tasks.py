from django.db import migrations


class Migration(migrations.Migration):
    """Find the tasks of one list that are due, however many wait in others."""

    dependencies = [
        ("flows", "0014_pending_starts"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [
        migrations.RunSQL(
            'CREATE INDEX IF NOT EXISTS flows_due_tasks ON django_q_ormq ("key", "lock", "id")',
            "DROP INDEX IF EXISTS flows_due_tasks",
        )
    ]
