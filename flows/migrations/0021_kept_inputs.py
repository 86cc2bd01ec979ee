from django.db import migrations, models

KEEP = [
    ("everything", "Everything: what every step got and gave"),
    ("failures", "Failures only: that of runs that have failed"),
    ("nothing", "Nothing: results and dead letters alone"),
]
KEEP_HELP = (
    "Which payloads of its runs stay to be looked at, as long as the runs do. Runs under way keep as"
    " they started."
)


def keep(**options: str) -> models.CharField:
    return models.CharField(
        choices=KEEP, db_default="everything", default="everything", max_length=16, **options
    )


class Migration(migrations.Migration):
    """Columns that processes of the older version leave out: large tables are not rewritten."""

    dependencies = [("flows", "0020_counts_of_each_minute")]

    operations = [
        migrations.AddField(
            "flow", "keep", keep(help_text=KEEP_HELP, verbose_name="payloads kept")
        ),
        migrations.AddField("flowversion", "keep", keep()),
        migrations.AddField(
            "historicalflow", "keep", keep(help_text=KEEP_HELP, verbose_name="payloads kept")
        ),
        migrations.AddField(
            "run",
            "cancelled_input",
            models.TextField(
                help_text="The envelope that waited when the run was cancelled, JSON.", null=True
            ),
        ),
        migrations.AddField(
            "steprun",
            "input",
            models.TextField(
                help_text="The envelope as the step received it, JSON; with the delivery that"
                " ended it.",
                null=True,
            ),
        ),
        migrations.AddField(
            "steprun",
            "input_bytes",
            models.PositiveIntegerField(
                help_text="Of the whole input, where only its beginning was kept.", null=True
            ),
        ),
    ]
