from importlib import import_module

from django.db import migrations, models

# A start writes runs: none may wait behind the change of their table.
AddField = import_module("flows.migrations.0029_texts_of_runs").AddFieldWithoutQueue


class Migration(migrations.Migration):
    """Say of a run when its payloads were erased."""

    dependencies = [("flows", "0054_alerts")]

    operations = [
        AddField(
            model_name="run",
            name="erased_at",
            field=models.DateTimeField(
                help_text="When its payloads were erased; empty: they were not.",
                null=True,
                verbose_name="erased",
            ),
        ),
    ]
