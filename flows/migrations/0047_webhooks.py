
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('flows', '0046_last_uses_of_tokens'),
    ]

    operations = [
        migrations.CreateModel(
            name='FlowWebhook',
            fields=[
                ('flow', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='webhook_state', serialize=False, to='flows.flow')),
                ('encrypted', models.TextField(help_text='The secret that signs, encrypted.')),
                ('previous_encrypted', models.TextField(blank=True, default='', help_text='The one before, which signs for a day more.')),
                ('rotated_at', models.DateTimeField(null=True)),
                ('gone_url', models.CharField(blank=True, default='', help_text='The address that has answered 410: nothing is sent there any more.', max_length=2000)),
                ('gone_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='RunCallback',
            fields=[
                ('run', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='flows.run')),
                ('url', models.CharField(max_length=2000)),
            ],
        ),
        migrations.AddField(
            model_name='flow',
            name='private_webhooks',
            field=models.BooleanField(db_default=False, default=False, help_text='Webhooks may go to addresses of inner networks and of this machine.', verbose_name='private addresses'),
        ),
        migrations.AddField(
            model_name='flow',
            name='webhook_url',
            field=models.CharField(blank=True, db_default='', default='', help_text='This address is told the end of every run, by a signed POST; empty: none is.', max_length=2000, verbose_name='webhook'),
        ),
        migrations.AddField(
            model_name='historicalflow',
            name='private_webhooks',
            field=models.BooleanField(db_default=False, default=False, help_text='Webhooks may go to addresses of inner networks and of this machine.', verbose_name='private addresses'),
        ),
        migrations.AddField(
            model_name='historicalflow',
            name='webhook_url',
            field=models.CharField(blank=True, db_default='', default='', help_text='This address is told the end of every run, by a signed POST; empty: none is.', max_length=2000, verbose_name='webhook'),
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('flow', models.BigIntegerField(help_text='The flow whose secret signs it.', null=True)),
                ('kind', models.CharField(choices=[('callback', 'Callback: the address that the start gave'), ('flow', 'Flow: the webhook of the flow')], max_length=16)),
                ('url', models.CharField(max_length=2000)),
                ('run_status', models.CharField(choices=[('QUEUED', 'Queued: waits for its first delivery'), ('RUNNING', 'Running: at least one delivery was made'), ('COMPLETED', 'Completed: the last step gave the result'), ('FAILED', 'Failed: a message of it is a dead letter'), ('CANCELLED', 'Cancelled: stopped on demand')], max_length=16)),
                ('at', models.DateTimeField(help_text='When the run has ended.')),
                ('body', models.TextField(blank=True, default='', help_text='JSON; made at the first attempt.')),
                ('status', models.CharField(choices=[('pending', 'Pending: it is sent, or will be again'), ('delivered', 'Delivered: the receiver has answered 2xx'), ('failed', 'Failed: it is not tried again')], default='pending', max_length=16)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(null=True)),
                ('attempted_at', models.DateTimeField(null=True, verbose_name='last attempt')),
                ('answer_status', models.PositiveIntegerField(null=True)),
                ('answer', models.TextField(blank=True, default='', help_text='The beginning of the last answer.')),
                ('error', models.TextField(blank=True, default='')),
                ('run', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='webhook_deliveries', to='flows.run')),
            ],
            options={
                'verbose_name_plural': 'webhook deliveries',
                'ordering': ['-id'],
                'indexes': [models.Index(models.F('run'), models.OrderBy(models.F('id'), descending=True), name='webhook_delivery_by_run'), models.Index(condition=models.Q(('status', 'pending')), fields=['next_attempt_at'], name='webhook_delivery_due')],
            },
        ),
    ]
