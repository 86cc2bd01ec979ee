from typing import Any

from django.db import migrations, models
from django.db.models.functions import Cast, Coalesce


def fill_in_callers(apps: Any, schema_editor: Any) -> None:
    """Give the keys of the last day to the users who started their runs."""
    keys = apps.get_model("flows", "IdempotencyKey").objects.using(schema_editor.connection.alias)
    runs = apps.get_model("flows", "Run").objects.using(schema_editor.connection.alias)
    started_by = runs.filter(pk=models.OuterRef("run_id")).values("started_by_id")
    caller = Cast(models.Subquery(started_by), models.CharField(max_length=64))
    keys.update(caller=Coalesce(caller, models.Value("")))


def forget_shared_keys(apps: Any, schema_editor: Any) -> None:
    """Leave of each key of a flow the oldest, as the constraint that comes back wants it."""
    keys = apps.get_model("flows", "IdempotencyKey").objects.using(schema_editor.connection.alias)
    same = keys.filter(flow_name=models.OuterRef("flow_name"), key=models.OuterRef("key"))
    younger = keys.filter(models.Exists(same.filter(pk__lt=models.OuterRef("pk"))))
    keys.filter(pk__in=list(younger.values_list("pk", flat=True))).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("flows", "0006_reprocessing"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="idempotencykey",
            name="idempotency_key_once_per_flow",
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="caller",
            field=models.CharField(
                db_default="",
                help_text="The user's primary key; empty: a command.",
                max_length=64,
            ),
        ),
        migrations.RunPython(fill_in_callers, forget_shared_keys),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(
                models.F("flow_name"),
                models.F("caller"),
                models.F("key"),
                name="idempotency_key_once_per_caller",
            ),
        ),
    ]
