
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('flows', '0055_erased_runs'),
    ]

    operations = [
        migrations.CreateModel(
            name='RunTrace',
            fields=[
                ('run', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='flows.run')),
                ('traceparent', models.CharField(max_length=55)),
                ('tracestate', models.CharField(blank=True, default='', max_length=512)),
            ],
        ),
    ]
