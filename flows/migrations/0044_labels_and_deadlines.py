
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('flows', '0043_words_of_states'),
    ]

    operations = [
        migrations.CreateModel(
            name='RunDeadline',
            fields=[
                ('run', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='flows.run')),
                ('at', models.DateTimeField()),
                ('was_missed', models.BooleanField(help_text='Whether the run was cancelled by it; null: it has not passed, or not long ago.', null=True)),
            ],
            options={
                'ordering': ['at'],
                'indexes': [models.Index(condition=models.Q(('was_missed', None)), fields=['at'], name='run_deadline_open')],
            },
        ),
        migrations.CreateModel(
            name='RunLabel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=64)),
                ('value', models.CharField(max_length=255)),
                ('run', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='labels', to='flows.run')),
            ],
            options={
                'ordering': ['id'],
                'indexes': [models.Index(models.F('key'), models.F('value'), models.OrderBy(models.F('run'), descending=True), name='run_by_label')],
                'constraints': [models.UniqueConstraint(models.F('run'), models.F('key'), name='run_label_once')],
            },
        ),
    ]
