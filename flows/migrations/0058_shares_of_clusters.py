from importlib import import_module

from django.db import migrations, models

# Commits change consumers: none may wait behind the change of their table.
AddField = import_module("flows.migrations.0029_texts_of_runs").AddFieldWithoutQueue


class Migration(migrations.Migration):
    """Add what clusters share the threads of a queue by.

    The database has defaults, for processes of before, which do not know the columns.
    """

    dependencies = [("flows", "0057_causes_of_dead_letters")]

    operations = [
        AddField(
            model_name="consumer",
            name="leaves",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text=(
                    "It takes nothing new and ends, for another cluster has too few threads here."
                ),
            ),
        ),
        AddField(
            model_name="livecluster",
            name="workers",
            field=models.PositiveIntegerField(
                db_default=1,
                default=1,
                help_text="Of flows; 0 where its machine may run no scripts.",
            ),
        ),
    ]
