from django.db import migrations, models

RECENT_STARTS = "The recent starts that the rate limit counts, as JSON."


class Migration(migrations.Migration):
    """Change help texts and labels, and a name in Python: no statement for the database."""

    dependencies = [("flows", "0022_audit_log")]

    operations = [
        migrations.AlterField("consumer", "host", models.CharField(db_column="host", max_length=255)),
        migrations.RenameField("consumer", "host", "machine"),
        migrations.AlterField(
            "consumer",
            "cancel_requested",
            models.BooleanField(
                default=False, help_text="The run of a message that it holds was cancelled."
            ),
        ),
        migrations.AlterField(
            "message",
            "suspects",
            models.PositiveSmallIntegerField(
                default=0,
                help_text="A worker died while it held this. Messages like it are delivered in"
                " groups of this size, to find the one that killed the worker. 0: not suspected.",
            ),
        ),
        migrations.AlterField(
            "queuestate",
            "recent_starts",
            models.TextField(blank=True, default="", help_text=RECENT_STARTS),
        ),
        migrations.AlterField(
            "reprocessing",
            "recent_starts",
            models.TextField(blank=True, default="", help_text=RECENT_STARTS),
        ),
        migrations.AlterField(
            "reprocessing",
            "state",
            models.CharField(
                choices=[
                    ("RUNNING", "Running: dead letters are reprocessed, or some of their runs go on"),
                    ("STOPPED", "Stopped: no more are reprocessed, the note says why"),
                    ("FINISHED", "Finished: all were reprocessed and their runs have ended"),
                ],
                default="RUNNING",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "filter",
            models.JSONField(
                default=dict, help_text="Which dead letters it reprocesses, as in the API."
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "flow_ids",
            models.JSONField(
                help_text="Only dead letters of these flows; null: of all flows.", null=True
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "stop_after_failures",
            models.PositiveIntegerField(
                help_text="It stops when this number have failed again.", null=True
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "sample",
            models.PositiveIntegerField(
                default=0, help_text="After this number it waits until their runs have ended."
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "reprocessed",
            models.PositiveIntegerField(default=0, help_text="Requeued, whatever the result."),
        ),
        migrations.AlterField(
            "reprocessing",
            "refused",
            models.PositiveIntegerField(
                default=0, help_text="Dead letters without a step or queue."
            ),
        ),
        migrations.AlterField(
            "reprocessing",
            "last_id",
            models.BigIntegerField(help_text="Later dead letters are not part of it."),
        ),
        migrations.AlterField(
            "reprocessing",
            "finished_at",
            models.DateTimeField(help_text="When the last of its runs had ended.", null=True),
        ),
    ]
