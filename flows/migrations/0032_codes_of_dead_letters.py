from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Keep what scripts say of the messages that they reject."""

    dependencies = [
        ('flows', '0031_refused_starts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='deadletter',
            name='code',
            field=models.CharField(help_text='What the script has named it when it rejected it.', max_length=100, null=True),
        ),
        migrations.AddField(
            model_name='deadletter',
            name='details',
            field=models.TextField(help_text='What the script has said when it rejected it, JSON.', null=True),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='reason',
            field=models.CharField(choices=[('exhausted', 'out of deliveries'), ('rejected', 'rejected by the script'), ('invalid-output', 'the output is not a message'), ('script-invalid', 'the script cannot work, however often it is run'), ('expired', 'the run is older than its flow allows'), ('too-many-branches', 'it fans out to more than the next queue holds'), ('no-queue', 'the queue of the next step is gone'), ('too-large', 'the result is larger than allowed'), ('not-storable', 'what came of it could not be stored')], max_length=32),
        ),
    ]
