from importlib import import_module

from django.db import migrations, models

# A start reads queues: none may wait behind the change of their table.
AddField = import_module("flows.migrations.0029_texts_of_runs").AddFieldWithoutQueue


def cluster() -> models.CharField:
    """The database has a default, for processes of before, which do not know the column."""
    return models.CharField(
        blank=True,
        db_default="",
        default="",
        help_text="Only workers of this cluster take its messages; empty: those of all do.",
        max_length=100,
    )


class Migration(migrations.Migration):
    """Add the cluster that a queue is bound to, and a table of the clusters that are alive."""

    dependencies = [("flows", "0052_right_to_view_metrics")]

    operations = [
        migrations.CreateModel(
            name="LiveCluster",
            fields=[
                ("key", models.CharField(max_length=300, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("takes_unbound", models.BooleanField()),
                ("seen_at", models.DateTimeField()),
            ],
        ),
        AddField(model_name="historicalqueue", name="cluster", field=cluster()),
        AddField(model_name="queue", name="cluster", field=cluster()),
    ]
