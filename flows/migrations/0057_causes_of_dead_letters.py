from importlib import import_module

from django.db import migrations, models

# A commit stores dead letters: none may wait behind the change of their table.
AddField = import_module("flows.migrations.0029_texts_of_runs").AddFieldWithoutQueue


class Migration(migrations.Migration):
    """Keep how the last delivery of a dead letter ended."""

    dependencies = [("flows", "0056_traces_of_runs")]

    operations = [
        AddField(
            model_name="deadletter",
            name="cause",
            field=models.CharField(
                choices=[
                    ("completed", "its script had ended well"),
                    ("failed", "its script failed"),
                    ("retry", "its script asked for a redelivery"),
                    ("rejected", "its script or what it returned was rejected"),
                    ("worker-died", "its worker died"),
                ],
                help_text="How its last delivery ended; null: of before there were causes.",
                max_length=20,
                null=True,
            ),
        ),
    ]
