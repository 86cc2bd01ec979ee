from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Add columns that processes of the older version leave out: no table is rewritten."""

    dependencies = [
        ('flows', '0024_authors_of_flow_versions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='deadletter',
            name='error_class',
            field=models.CharField(help_text='The error without numbers, ids and texts; null: of before there were classes.', max_length=200, null=True),
        ),
        migrations.AddField(
            model_name='flow',
            name='pause_reason',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.'),
        ),
        migrations.AddField(
            model_name='historicalflow',
            name='pause_reason',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.'),
        ),
        migrations.AddField(
            model_name='historicalqueue',
            name='pause_reason',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.'),
        ),
        migrations.AddField(
            model_name='queue',
            name='pause_reason',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.'),
        ),
        migrations.AddField(
            model_name='reprocessing',
            name='failed_before',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='Those that had failed again when it last went on.'),
        ),
    ]
