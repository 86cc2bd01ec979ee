from importlib import import_module

from django.db import migrations, models

# A start reads flows: none may wait behind the change of their table.
AddField = import_module("flows.migrations.0029_texts_of_runs").AddFieldWithoutQueue


def archive() -> models.BooleanField:
    """The database has a default, for processes of before, which do not know the column."""
    return models.BooleanField(
        db_default=False,
        default=False,
        help_text="Its runs are written to the archive before they are purged.",
    )


class Migration(migrations.Migration):
    """Say of a flow whether its runs are archived."""

    dependencies = [("flows", "0058_shares_of_clusters")]

    operations = [
        AddField(model_name="flow", name="archive", field=archive()),
        AddField(model_name="historicalflow", name="archive", field=archive()),
    ]
