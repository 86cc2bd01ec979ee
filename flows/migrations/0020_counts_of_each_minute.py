import json
from typing import Any

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, QuerySet


def begin_to_count(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Count the dead letters that are open, and take what the totals have as counted already."""

    def rows(name: str) -> QuerySet[Any]:
        return apps.get_model("flows", name).objects.using(schema_editor.connection.alias)

    open_letters = rows("DeadLetter").filter(reprocessed_at=None, discarded_at=None)
    counted = open_letters.order_by().values_list("step__flow_version__flow_name")
    letters = dict(counted.annotate(count=Count("pk")))
    for flow_name, count in letters.items():
        rows("FlowTotals").filter(pk=flow_name).update(letters_made=count)
    for totals in rows("FlowTotals"):
        ever = {
            "accepted": totals.accepted,
            "completed": totals.completed,
            "failed": totals.failed,
            "cancelled": totals.cancelled,
            "letters": totals.letters_made,
        }
        rows("CountedTotals").create(
            flow_name=totals.flow_name, counted=json.dumps(ever)
        )


class Migration(migrations.Migration):
    """Add tables of counts and columns with defaults: what runs before it goes on as it was."""

    dependencies = [
        ("flows", "0019_right_to_configure"),
    ]

    operations = [
        migrations.CreateModel(
            name='ConservationCheck',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('checked_at', models.DateTimeField()),
                ('faults', models.TextField(default='[]', help_text='JSON: sentences.')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='CountedTotals',
            fields=[
                ('flow_name', models.CharField(max_length=100, primary_key=True, serialize=False)),
                ('counted', models.TextField(help_text='JSON: a number by the event.')),
            ],
        ),
        migrations.CreateModel(
            name='CountsClock',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sampled_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='letters_decided',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='letters_made',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='purged_cancelled',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='purged_completed',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='purged_failed',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='flowtotals',
            name='reopened',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name='CountBlock',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('flow_name', models.CharField(max_length=100)),
                ('step_name', models.CharField(blank=True, default='', help_text='Empty: the runs of the flow.', max_length=100)),
                ('slot_seconds', models.PositiveIntegerField()),
                ('begins_at', models.DateTimeField()),
                ('counts', models.TextField(help_text='JSON: by the event, a number for each slot.')),
                ('durations', models.TextField(default='{}', help_text='JSON: a histogram, see flows/monitoring/histogram.py.')),
            ],
            options={
                'constraints': [models.UniqueConstraint(models.F('slot_seconds'), models.F('begins_at'), models.F('flow_name'), models.F('step_name'), name='count_block_once')],
            },
        ),
        migrations.RunPython(begin_to_count, migrations.RunPython.noop),
    ]
