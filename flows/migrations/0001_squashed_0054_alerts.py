from importlib import import_module
import datetime
import django.core.serializers.json
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
import simple_history.models
import uuid
from django.conf import settings
from django.db import DatabaseError, migrations, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from scripts.migrations._creation import CreateModels

tuning = import_module('flows.migrations.0002_tune_postgresql')
pending_starts = import_module('flows.migrations.0014_pending_starts')
texts_of_letters = import_module('flows.migrations.0027_text_of_dead_letters')
texts_of_runs = import_module('flows.migrations.0029_texts_of_runs')


def index_letters(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the index of 0027 inside the transaction: the table is new and empty."""
    if schema_editor.connection.vendor != 'postgresql':
        return
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
    except DatabaseError:
        return
    schema_editor.execute(texts_of_letters.INDEX.replace('CONCURRENTLY', ''))


def keep_names(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Name two indexes as databases of before have them: 0018 has renamed the table alone."""
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.deferred_sql += [
            'ALTER INDEX flows_flowtotals_pkey RENAME TO flows_tally_pkey',
            'ALTER INDEX flows_flowtotals_flow_name_234228c9_like'
            ' RENAME TO flows_tally_flow_name_7defd0af_like',
        ]


class Migration(migrations.Migration):
    """Make the tables of an empty database in one step. Other databases go on by the old files.

    What those do to rows is left out here: there are none.
    """

    initial = True
    replaces = [
        ('flows', '0001_configuration_and_runtime'),
        ('flows', '0002_tune_postgresql'),
        ('flows', '0003_limits_and_books'),
        ('flows', '0004_branches'),
        ('flows', '0005_suspects'),
        ('flows', '0006_reprocessing'),
        ('flows', '0007_idempotency_keys_by_caller'),
        ('flows', '0008_login_counts'),
        ('flows', '0009_longer_branches'),
        ('flows', '0010_reasons_of_storing'),
        ('flows', '0011_reason_too_large'),
        ('flows', '0012_groups_of_suspects'),
        ('flows', '0013_delayed_starts_apart'),
        ('flows', '0014_pending_starts'),
        ('flows', '0015_index_of_queued_tasks'),
        ('flows', '0016_cache_of_tasks'),
        ('flows', '0017_paths_of_tasks'),
        ('flows', '0018_standard_names'),
        ('flows', '0019_right_to_configure'),
        ('flows', '0020_counts_of_each_minute'),
        ('flows', '0021_kept_inputs'),
        ('flows', '0022_audit_log'),
        ('flows', '0023_plain_help_texts'),
        ('flows', '0024_authors_of_flow_versions'),
        ('flows', '0025_error_classes'),
        ('flows', '0026_index_of_error_classes'),
        ('flows', '0027_text_of_dead_letters'),
        ('flows', '0028_help_on_every_field'),
        ('flows', '0029_texts_of_runs'),
        ('flows', '0030_running_attempts'),
        ('flows', '0031_refused_starts'),
        ('flows', '0032_codes_of_dead_letters'),
        ('flows', '0033_index_of_codes'),
        ('flows', '0034_age_limit'),
        ('flows', '0035_waiting_scripts'),
        ('flows', '0036_progress_of_scripts'),
        ('flows', '0037_ways_of_scripts'),
        ('flows', '0038_state_of_flows'),
        ('flows', '0039_names_of_tokens'),
        ('flows', '0040_outcome_retry'),
        ('flows', '0041_starts_by_scripts'),
        ('flows', '0042_index_of_parents'),
        ('flows', '0043_words_of_states'),
        ('flows', '0044_labels_and_deadlines'),
        ('flows', '0045_quiet_ends'),
        ('flows', '0046_last_uses_of_tokens'),
        ('flows', '0047_webhooks'),
        ('flows', '0048_external_identities'),
        ('flows', '0049_start_rates'),
        ('flows', '0050_runs_that_repeat'),
        ('flows', '0051_schedules_of_flows'),
        ('flows', '0052_right_to_view_metrics'),
        ('flows', '0053_clusters_of_queues'),
        ('flows', '0054_alerts'),
    ]
    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('django_q', '0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more'),
        ('scripts', '0001_configuration_and_runtime'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='ConfigurationRevision',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('token', models.UUIDField(default=uuid.uuid4)),
                ],
            ),
            migrations.CreateModel(
                name='Consumer',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('threads', models.PositiveIntegerField()),
                    ('cluster', models.CharField(max_length=64)),
                    ('machine', models.CharField(db_column='host', max_length=255)),
                    ('pid', models.PositiveIntegerField(help_text='Of the worker, once it has begun.', null=True)),
                    ('created_at', models.DateTimeField()),
                    ('heartbeat_at', models.DateTimeField()),
                    ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='consumers', to='flows.queue')),
                    ('cancel_requested', models.BooleanField(default=False, help_text='The run of a message that it holds was cancelled.')),
                ],
                options={
                    'ordering': ['id'],
                },
            ),
            migrations.CreateModel(
                name='Flow',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='In the address that callers start it at; a new name makes a new address.', max_length=100, unique=True)),
                    ('description', models.TextField(blank=True, help_text="What it does, for operators and in the API's documentation.")),
                    ('active', models.BooleanField(default=True, help_text='An inactive flow refuses starts.')),
                    ('retention', models.DurationField(default=datetime.timedelta(days=30), help_text='Finished runs are kept this long.')),
                    ('max_age', models.DurationField(blank=True, help_text='A run older than this is not redelivered any more; empty: no limit.', null=True, verbose_name='age limit')),
                    ('paused', models.BooleanField(default=False, help_text='Starts are accepted, but the messages of all its steps wait.')),
                    ('paused_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('keep', models.CharField(choices=[('everything', 'Everything: what every step got and gave'), ('failures', 'Failures only: that of runs that have failed'), ('nothing', 'Nothing: results and dead letters alone')], db_default='everything', default='everything', help_text='Which payloads of its runs stay to be looked at, as long as the runs do. Runs under way keep as they started.', max_length=16, verbose_name='payloads kept')),
                    ('pause_reason', models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.')),
                    ('may_start', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Flows that its scripts may start with context.start, by name.', verbose_name='may start')),
                    ('private_webhooks', models.BooleanField(db_default=False, default=False, help_text='Webhooks may go to addresses of inner networks and of this machine.', verbose_name='private addresses')),
                    ('webhook_url', models.CharField(blank=True, db_default='', default='', help_text='This address is told the end of every run, by a signed POST; empty: none is.', max_length=2000, verbose_name='webhook')),
                    ('start_rate_count', models.PositiveIntegerField(blank=True, help_text='Most runs that callers of the API start in one period; empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000000)], verbose_name='start rate')),
                    ('start_rate_period', models.DurationField(db_default=datetime.timedelta(seconds=1), default=datetime.timedelta(seconds=1), help_text='The time that the start rate counts in, 1 s to 1 day, such as 1 min.', verbose_name='start rate period')),
                ],
                options={
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='IdempotencyKey',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('flow_name', models.CharField(max_length=100)),
                    ('key', models.CharField(max_length=255)),
                    ('body_digest', models.CharField(max_length=64)),
                    ('created_at', models.DateTimeField(db_index=True)),
                    ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='flows.run')),
                    ('caller', models.CharField(db_default='', help_text="The user's primary key; empty: a command.", max_length=64)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(models.F('flow_name'), models.F('caller'), models.F('key'), name='idempotency_key_once_per_caller')],
                },
            ),
            migrations.CreateModel(
                name='Queue',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text="Such as the flow's and the step's: orders-check.", max_length=100, unique=True)),
                    ('size', models.PositiveIntegerField(default=10000, help_text='Most messages it holds; a start beyond that is refused.', validators=[django.core.validators.MinValueValidator(1)])),
                    ('polling', models.DurationField(default=datetime.timedelta(microseconds=100000), help_text='How often workers look for messages without a wake-up, such as 100 ms.')),
                    ('max_deliveries', models.PositiveIntegerField(default=5, help_text='A message that failed this often becomes a dead letter.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                    ('backoff_initial', models.DurationField(default=datetime.timedelta(seconds=1), help_text='Wait before the first redelivery.', verbose_name='back-off')),
                    ('backoff_multiplier', models.FloatField(default=2.0, help_text='Each wait is this many times the one before; 1: always the same.', validators=[django.core.validators.MinValueValidator(1.0)], verbose_name='back-off multiplier')),
                    ('backoff_max', models.DurationField(default=datetime.timedelta(seconds=300), help_text='No wait between two deliveries grows beyond this, such as 5 min.', verbose_name='longest back-off')),
                    ('backoff_jitter', models.FloatField(default=0.2, help_text='Random part of the wait, 0 to 1.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='jitter')),
                    ('rate_count', models.PositiveIntegerField(blank=True, help_text='Most executions in one period; empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='rate limit')),
                    ('rate_period', models.DurationField(default=datetime.timedelta(seconds=1), help_text='The time that the rate limit counts in, such as 1 s or 1 min.', verbose_name='rate period')),
                    ('paused', models.BooleanField(default=False, help_text='Messages wait, none is handed out.')),
                    ('paused_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('pause_reason', models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.')),
                    ('max_wait', models.DurationField(db_default=datetime.timedelta(days=7), default=datetime.timedelta(days=7), help_text='A message whose script waits for longer, by Wait, becomes a dead letter.', verbose_name='longest wait')),
                    ('cluster', models.CharField(blank=True, db_default='', default='', help_text='Only workers of this cluster take its messages; empty: those of all do.', max_length=100)),
                ],
                options={
                    'ordering': ['name'],
                    'constraints': [models.CheckConstraint(condition=models.Q(('size__gte', 1)), name='queue_size_at_least_1'), models.CheckConstraint(condition=models.Q(('max_deliveries__gte', 1)), name='queue_max_deliveries_at_least_1')],
                },
            ),
            migrations.CreateModel(
                name='RoleMapping',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('right', models.CharField(choices=[('start', 'start: may start runs and see the own ones'), ('watch', 'watch: may see every run'), ('operate', 'operate: may pause, cancel and reprocess'), ('configure', 'configure: may watch and change steps, scripts and queues')], default='start', max_length=16)),
                    ('flow', models.ForeignKey(blank=True, help_text='Empty: every flow.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='role_mappings', to='flows.flow')),
                    ('role', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='role_mappings', to='auth.group')),
                ],
                options={
                    'ordering': ['role__name', 'right'],
                    'constraints': [models.UniqueConstraint(models.F('role'), models.F('right'), models.F('flow'), name='role_mapping_once_per_flow'), models.UniqueConstraint(models.F('role'), models.F('right'), condition=models.Q(('flow', None)), name='role_mapping_once_for_all_flows')],
                },
            ),
            migrations.CreateModel(
                name='Run',
                fields=[
                    ('correlation_id', models.UUIDField(primary_key=True, serialize=False, verbose_name='correlation id')),
                    ('status', models.CharField(choices=[('QUEUED', 'Queued: waits for its first delivery'), ('RUNNING', 'Running: at least one delivery was made'), ('COMPLETED', 'Completed: the last step gave the result'), ('FAILED', 'Failed: a message of it is a dead letter'), ('CANCELLED', 'Cancelled: stopped on demand')], default='QUEUED', max_length=16)),
                    ('created_at', models.DateTimeField()),
                    ('started_at', models.DateTimeField(null=True)),
                    ('finished_at', models.DateTimeField(null=True)),
                    ('result', models.TextField(help_text='JSON', null=True)),
                    ('error', models.TextField(blank=True, default='')),
                    ('warnings', models.PositiveIntegerField(default=0)),
                    ('flow_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='flows.flowversion')),
                    ('started_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('cancelled_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('branches', models.PositiveIntegerField(default=1, help_text='Messages of it that have not come to their end, dead ones too.')),
                    ('cancelled_input', models.TextField(help_text='The envelope that waited when the run was cancelled, JSON.', null=True)),
                    ('repeats', models.UUIDField(help_text='The run whose payload it was started with.', null=True)),
                    ('parent', models.UUIDField(help_text='The run whose script has started it.', null=True)),
                    ('start_depth', models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How many runs are above it, each started by the other.')),
                ],
                options={
                    'ordering': ['-correlation_id'],
                    'indexes': [models.Index(models.F('flow_version'), models.OrderBy(models.F('correlation_id'), descending=True), name='run_by_flow'), models.Index(condition=models.Q(('parent__isnull', False)), fields=['parent', 'correlation_id'], name='run_by_parent'), models.Index(condition=models.Q(('repeats__isnull', False)), fields=['repeats', 'correlation_id'], name='run_by_repeats')],
                },
            ),
            migrations.CreateModel(
                name='Step',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('position', models.PositiveIntegerField(db_index=True, default=0)),
                    ('name', models.CharField(max_length=100)),
                    ('threads', models.PositiveIntegerField(default=4, help_text='Messages run at the same time, over all clusters.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                    ('flow', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='flows.flow')),
                    ('queue', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='step', to='flows.queue')),
                    ('script', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='steps', to='scripts.script')),
                    ('join', models.BooleanField(default=False, help_text='Waits for all branches of a run and gets them as one message.')),
                    ('goes_to', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Later steps that its script may choose with context.go, by name; the next one it may always choose.', verbose_name='goes to')),
                ],
                options={
                    'ordering': ['flow', 'position', 'id'],
                    'constraints': [models.UniqueConstraint(models.F('flow'), models.F('name'), name='step_name_once_per_flow'), models.CheckConstraint(condition=models.Q(('threads__gte', 1)), name='step_threads_at_least_1')],
                },
            ),
            migrations.CreateModel(
                name='StepRun',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('outcome', models.CharField(choices=[('COMPLETED', 'Completed: the output was handed on'), ('FAILED', 'Failed: it is redelivered, or a dead letter after the last delivery'), ('RETRY', 'Retry: the script asked to be redelivered'), ('REJECTED', 'Rejected: a dead letter at once'), ('WAITING', 'Waiting: the script waits for something, and runs again later'), ('CANCELLED', 'Cancelled: the run was stopped')], max_length=16)),
                    ('started_at', models.DateTimeField()),
                    ('finished_at', models.DateTimeField()),
                    ('error', models.TextField(blank=True, default='')),
                    ('logs', models.TextField(blank=True, default='', help_text='JSON, or empty.')),
                    ('run', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='step_runs', to='flows.run')),
                    ('step', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.stepversion')),
                    ('branch', models.TextField(blank=True, default='')),
                    ('delivery', models.PositiveIntegerField(default=1, help_text='Which one it was; those whose worker died have left no row.')),
                    ('input', models.TextField(help_text='The envelope as the step received it, JSON; with the delivery that ended it.', null=True)),
                    ('input_bytes', models.PositiveIntegerField(help_text='Of the whole input, where only its beginning was kept.', null=True)),
                ],
                options={
                    'ordering': ['id'],
                },
            ),
            migrations.CreateModel(
                name='StepVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('position', models.PositiveIntegerField()),
                    ('name', models.CharField(max_length=100)),
                    ('queue_name', models.CharField(max_length=100)),
                    ('flow_version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='flows.flowversion')),
                    ('queue', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='flows.queue')),
                    ('script_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='scripts.scriptversion')),
                    ('join', models.BooleanField(default=False)),
                    ('threads', models.PositiveIntegerField(null=True)),
                    ('goes_to', models.JSONField(db_default=models.Value([], models.JSONField()), default=list)),
                ],
                options={
                    'ordering': ['flow_version', 'position'],
                    'constraints': [models.UniqueConstraint(models.F('flow_version'), models.F('position'), name='one_step_version_per_position')],
                },
            ),
            migrations.CreateModel(
                name='DeadLetter',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('reason', models.CharField(choices=[('exhausted', 'out of deliveries'), ('rejected', 'rejected by the script'), ('invalid-output', 'the output is not a message'), ('script-invalid', 'the script cannot work, however often it is run'), ('waited-too-long', 'it waited longer than its queue allows'), ('expired', 'the run is older than its flow allows'), ('too-many-branches', 'it fans out to more than the next queue holds'), ('no-queue', 'the queue of the next step is gone'), ('too-large', 'the result is larger than allowed'), ('not-storable', 'what came of it could not be stored')], max_length=32)),
                    ('error', models.TextField(help_text="With the script's traceback.")),
                    ('body', models.TextField(help_text='The envelope as the step received it, JSON.')),
                    ('deliveries', models.PositiveIntegerField()),
                    ('dead_at', models.DateTimeField(db_index=True)),
                    ('reprocessed_at', models.DateTimeField(blank=True, null=True)),
                    ('reprocessed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='dead_letters', to='flows.run')),
                    ('step', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='flows.stepversion')),
                    ('discarded_at', models.DateTimeField(blank=True, null=True)),
                    ('discarded_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('branch', models.TextField(blank=True, default='')),
                    ('error_class', models.CharField(help_text='The error without numbers, ids and texts; null: of before there were classes.', max_length=200, null=True)),
                    ('code', models.CharField(help_text='What the script has named it when it rejected it.', max_length=100, null=True)),
                    ('details', models.TextField(help_text='What the script has said when it rejected it, JSON.', null=True)),
                ],
                options={
                    'ordering': ['-id'],
                    'indexes': [models.Index(models.F('step'), models.F('id'), condition=models.Q(('discarded_at', None), ('reprocessed_at', None)), name='dead_letter_open'), models.Index(condition=models.Q(('discarded_at', None), ('reprocessed_at', None)), fields=['error_class', 'id', 'step', 'dead_at'], name='dead_letter_by_error'), models.Index(condition=models.Q(('code__isnull', False), ('discarded_at', None), ('reprocessed_at', None)), fields=['code', 'id', 'step'], name='dead_letter_by_code')],
                },
            ),
            migrations.CreateModel(
                name='FlowVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('flow_name', models.CharField(max_length=100)),
                    ('number', models.PositiveIntegerField()),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('flow', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='versions', to='flows.flow')),
                    ('keep', models.CharField(choices=[('everything', 'Everything: what every step got and gave'), ('failures', 'Failures only: that of runs that have failed'), ('nothing', 'Nothing: results and dead letters alone')], db_default='everything', default='everything', max_length=16)),
                    ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('may_start', models.JSONField(db_default=models.Value([], models.JSONField()), default=list)),
                ],
                options={
                    'ordering': ['flow_name', '-number'],
                    'constraints': [models.UniqueConstraint(models.F('flow'), models.F('number'), name='one_flow_version_per_number')],
                },
            ),
            migrations.CreateModel(
                name='HistoricalFlow',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text='In the address that callers start it at; a new name makes a new address.', max_length=100)),
                    ('description', models.TextField(blank=True, help_text="What it does, for operators and in the API's documentation.")),
                    ('active', models.BooleanField(default=True, help_text='An inactive flow refuses starts.')),
                    ('retention', models.DurationField(default=datetime.timedelta(days=30), help_text='Finished runs are kept this long.')),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('max_age', models.DurationField(blank=True, help_text='A run older than this is not redelivered any more; empty: no limit.', null=True, verbose_name='age limit')),
                    ('paused', models.BooleanField(default=False, help_text='Starts are accepted, but the messages of all its steps wait.')),
                    ('paused_by', models.ForeignKey(blank=True, db_constraint=False, editable=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('keep', models.CharField(choices=[('everything', 'Everything: what every step got and gave'), ('failures', 'Failures only: that of runs that have failed'), ('nothing', 'Nothing: results and dead letters alone')], db_default='everything', default='everything', help_text='Which payloads of its runs stay to be looked at, as long as the runs do. Runs under way keep as they started.', max_length=16, verbose_name='payloads kept')),
                    ('pause_reason', models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.')),
                    ('may_start', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Flows that its scripts may start with context.start, by name.', verbose_name='may start')),
                    ('private_webhooks', models.BooleanField(db_default=False, default=False, help_text='Webhooks may go to addresses of inner networks and of this machine.', verbose_name='private addresses')),
                    ('webhook_url', models.CharField(blank=True, db_default='', default='', help_text='This address is told the end of every run, by a signed POST; empty: none is.', max_length=2000, verbose_name='webhook')),
                    ('start_rate_count', models.PositiveIntegerField(blank=True, help_text='Most runs that callers of the API start in one period; empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000000)], verbose_name='start rate')),
                    ('start_rate_period', models.DurationField(db_default=datetime.timedelta(seconds=1), default=datetime.timedelta(seconds=1), help_text='The time that the start rate counts in, 1 s to 1 day, such as 1 min.', verbose_name='start rate period')),
                ],
                options={
                    'verbose_name': 'historical flow',
                    'verbose_name_plural': 'historical flows',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='HistoricalQueue',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text="Such as the flow's and the step's: orders-check.", max_length=100)),
                    ('size', models.PositiveIntegerField(default=10000, help_text='Most messages it holds; a start beyond that is refused.', validators=[django.core.validators.MinValueValidator(1)])),
                    ('polling', models.DurationField(default=datetime.timedelta(microseconds=100000), help_text='How often workers look for messages without a wake-up, such as 100 ms.')),
                    ('max_deliveries', models.PositiveIntegerField(default=5, help_text='A message that failed this often becomes a dead letter.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                    ('backoff_initial', models.DurationField(default=datetime.timedelta(seconds=1), help_text='Wait before the first redelivery.', verbose_name='back-off')),
                    ('backoff_multiplier', models.FloatField(default=2.0, help_text='Each wait is this many times the one before; 1: always the same.', validators=[django.core.validators.MinValueValidator(1.0)], verbose_name='back-off multiplier')),
                    ('backoff_max', models.DurationField(default=datetime.timedelta(seconds=300), help_text='No wait between two deliveries grows beyond this, such as 5 min.', verbose_name='longest back-off')),
                    ('backoff_jitter', models.FloatField(default=0.2, help_text='Random part of the wait, 0 to 1.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='jitter')),
                    ('rate_count', models.PositiveIntegerField(blank=True, help_text='Most executions in one period; empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='rate limit')),
                    ('rate_period', models.DurationField(default=datetime.timedelta(seconds=1), help_text='The time that the rate limit counts in, such as 1 s or 1 min.', verbose_name='rate period')),
                    ('paused', models.BooleanField(default=False, help_text='Messages wait, none is handed out.')),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('paused_by', models.ForeignKey(blank=True, db_constraint=False, editable=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('pause_reason', models.TextField(blank=True, db_default='', default='', editable=False, help_text='Why it is paused.')),
                    ('max_wait', models.DurationField(db_default=datetime.timedelta(days=7), default=datetime.timedelta(days=7), help_text='A message whose script waits for longer, by Wait, becomes a dead letter.', verbose_name='longest wait')),
                    ('cluster', models.CharField(blank=True, db_default='', default='', help_text='Only workers of this cluster take its messages; empty: those of all do.', max_length=100)),
                ],
                options={
                    'verbose_name': 'historical queue',
                    'verbose_name_plural': 'historical queues',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='HistoricalRoleMapping',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('right', models.CharField(choices=[('start', 'start: may start runs and see the own ones'), ('watch', 'watch: may see every run'), ('operate', 'operate: may pause, cancel and reprocess'), ('configure', 'configure: may watch and change steps, scripts and queues')], default='start', max_length=16)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('flow', models.ForeignKey(blank=True, db_constraint=False, help_text='Empty: every flow.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.flow')),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('role', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='auth.group')),
                ],
                options={
                    'verbose_name': 'historical role mapping',
                    'verbose_name_plural': 'historical role mappings',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='HistoricalStep',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('position', models.PositiveIntegerField(db_index=True, default=0)),
                    ('name', models.CharField(max_length=100)),
                    ('threads', models.PositiveIntegerField(default=4, help_text='Messages run at the same time, over all clusters.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('flow', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.flow')),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('script', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='scripts.script')),
                    ('queue', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.queue')),
                    ('join', models.BooleanField(default=False, help_text='Waits for all branches of a run and gets them as one message.')),
                    ('goes_to', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Later steps that its script may choose with context.go, by name; the next one it may always choose.', verbose_name='goes to')),
                ],
                options={
                    'verbose_name': 'historical step',
                    'verbose_name_plural': 'historical steps',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='Message',
                fields=[
                    ('id', models.UUIDField(primary_key=True, serialize=False)),
                    ('body', models.TextField(help_text='The envelope as JSON.')),
                    ('deliveries', models.PositiveIntegerField(default=0)),
                    ('available_at', models.DateTimeField()),
                    ('consumer', models.ForeignKey(db_constraint=False, db_index=False, help_text='The session that holds it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='flows.consumer')),
                    ('queue', models.ForeignKey(db_constraint=False, db_index=False, help_text='Where it waits; empty while a consumer holds it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='flows.queue')),
                    ('run', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='messages', to='flows.run')),
                    ('step', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.stepversion')),
                    ('bypasses_pause', models.BooleanField(default=False, help_text='It goes on although its queue or flow is paused.')),
                    ('priority', models.PositiveSmallIntegerField(default=4)),
                    ('branch', models.TextField(blank=True, default='', help_text='Which branch of its run, as numbers with points; empty before any fan-out.')),
                    ('pending_outputs', models.BooleanField(default=False, help_text='Its step is done; the body has the outputs without room in the next queue.')),
                    ('suspects', models.PositiveSmallIntegerField(default=0, help_text='A worker died while it held this. Messages like it are delivered in groups of this size, to find the one that killed the worker. 0: not suspected.')),
                    ('delayed', models.BooleanField(default=False, help_text='A delayed start: counted apart until a worker takes it.')),
                    ('waiting', models.TextField(help_text='How a script waits with it, see flows/store/waiting.py.', null=True)),
                ],
                options={
                    'ordering': ['id'],
                    'indexes': [models.Index(models.F('queue'), models.F('priority'), models.F('available_at'), condition=models.Q(('queue__isnull', False)), name='message_waiting'), models.Index(models.F('run'), condition=models.Q(('branch__gt', '')), name='message_branch'), models.Index(models.F('queue'), condition=models.Q(('bypasses_pause', True), ('queue__isnull', False)), name='message_bypasses_pause')],
                    'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('consumer__isnull', False), ('queue', None)), models.Q(('consumer', None), ('queue__isnull', False)), _connector='OR'), name='message_waits_or_is_held'), models.CheckConstraint(condition=models.Q(('priority__lte', 9)), name='message_priority_0_to_9')],
                },
            ),
            migrations.CreateModel(
                name='QueueState',
                fields=[
                    ('queue', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='state', serialize=False, to='flows.queue')),
                    ('depth', models.PositiveIntegerField(default=0, help_text='Messages in it, held ones included.')),
                    ('reserved', models.PositiveIntegerField(default=0, help_text='Room kept for messages that the step before is running.')),
                    ('recent_starts', models.TextField(blank=True, default='', help_text='The recent starts that the rate limit counts, as JSON.')),
                    ('slow_until', models.DateTimeField(help_text='A script was asked to wait: until then one message at a time.', null=True)),
                    ('delayed', models.PositiveIntegerField(default=0, help_text='Delayed starts that no worker has taken yet, beside its depth.')),
                ],
            ),
            migrations.CreateModel(
                name='BranchEnd',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('branch', models.TextField()),
                    ('body', models.TextField(help_text='Its last output, JSON.')),
                    ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='branch_ends', to='flows.run')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(models.F('run'), models.F('branch'), name='branch_ends_once')],
                },
            ),
            migrations.CreateModel(
                name='Reprocessing',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('filter', models.JSONField(default=dict, help_text='Which dead letters it reprocesses, as in the API.')),
                    ('flow_ids', models.JSONField(help_text='Only dead letters of these flows; null: of all flows.', null=True)),
                    ('script', models.CharField(choices=[('own', 'own: the version that the run has'), ('newest', 'newest: the flow as it is now')], default='own', max_length=16)),
                    ('rate_per_second', models.FloatField(help_text='Null: as fast as it goes.', null=True)),
                    ('stop_after_failures', models.PositiveIntegerField(help_text='It stops when this number have failed again.', null=True)),
                    ('sample', models.PositiveIntegerField(default=0, help_text='After this number it waits until their runs have ended.')),
                    ('state', models.CharField(choices=[('RUNNING', 'Running: dead letters are reprocessed, or some of their runs go on'), ('STOPPED', 'Stopped: no more are reprocessed, the note says why'), ('FINISHED', 'Finished: all were reprocessed and their runs have ended')], default='RUNNING', max_length=16)),
                    ('note', models.TextField(blank=True, default='', help_text='Why it stopped or waits.')),
                    ('matched', models.PositiveIntegerField(default=0, help_text='Dead letters when it was made.')),
                    ('reprocessed', models.PositiveIntegerField(default=0, help_text='Requeued, whatever the result.')),
                    ('completed', models.PositiveIntegerField(default=0)),
                    ('failed_again', models.PositiveIntegerField(default=0)),
                    ('cancelled', models.PositiveIntegerField(default=0)),
                    ('refused', models.PositiveIntegerField(default=0, help_text='Dead letters without a step or queue.')),
                    ('last_refusal', models.TextField(blank=True, default='')),
                    ('cursor', models.BigIntegerField(default=0, help_text='The last dead letter it has dealt with.')),
                    ('last_id', models.BigIntegerField(help_text='Later dead letters are not part of it.')),
                    ('created_at', models.DateTimeField()),
                    ('finished_at', models.DateTimeField(help_text='When the last of its runs had ended.', null=True)),
                    ('fencing_token', models.BigIntegerField(default=0, help_text='A task that was queued with an older one writes nothing.')),
                    ('due_at', models.DateTimeField(help_text='If no worker has touched it by then, another task is queued.')),
                    ('recent_starts', models.TextField(blank=True, default='', help_text='The recent starts that the rate limit counts, as JSON.')),
                    ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('failed_before', models.PositiveIntegerField(db_default=0, default=0, help_text='Those that had failed again when it last went on.')),
                ],
                options={
                    'ordering': ['-id'],
                    'indexes': [models.Index(models.F('due_at'), condition=models.Q(('finished_at', None)), name='reprocessing_due')],
                    'constraints': [models.CheckConstraint(condition=models.Q(('rate_per_second', None), ('rate_per_second__gt', 0), _connector='OR'), name='reprocessing_rate_above_0'), models.CheckConstraint(condition=models.Q(('reprocessed__gte', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('completed'), '+', models.F('failed_again')), '+', models.F('cancelled')))), name='reprocessing_ended_were_put_back')],
                },
            ),
            migrations.CreateModel(
                name='ReprocessedLetter',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('outcome', models.CharField(choices=[('PENDING', 'Pending: its run goes on'), ('COMPLETED', 'Completed: its run has its result'), ('FAILED', 'Failed: there is a dead letter of its run again'), ('CANCELLED', 'Cancelled: its run was stopped')], default='PENDING', max_length=16)),
                    ('dead_letter', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='flows.deadletter')),
                    ('reprocessing', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='letters', to='flows.reprocessing')),
                ],
                options={
                    'ordering': ['id'],
                    'indexes': [models.Index(models.F('reprocessing'), models.F('outcome'), name='reprocessed_letter_by_outcome')],
                },
            ),
            migrations.CreateModel(
                name='LoginCount',
                fields=[
                    ('key', models.CharField(max_length=64, primary_key=True, serialize=False)),
                    ('began_at', models.DateTimeField(null=True)),
                    ('failures', models.PositiveIntegerField(default=0)),
                    ('known_at', models.DateTimeField(help_text='Of the last login that succeeded.', null=True)),
                    ('changed_at', models.DateTimeField(auto_now=True)),
                ],
                options={
                    'indexes': [models.Index(models.F('changed_at'), name='login_count_by_change')],
                },
            ),
            migrations.CreateModel(
                name='CachedValue',
                fields=[
                    ('key', models.CharField(max_length=255, primary_key=True, serialize=False)),
                    ('value', models.JSONField()),
                    ('expires_at', models.DateTimeField(db_index=True, null=True)),
                ],
            ),
            migrations.CreateModel(
                name='FlowTotals',
                fields=[
                    ('flow_name', models.CharField(max_length=100, primary_key=True, serialize=False)),
                    ('accepted', models.BigIntegerField(default=0)),
                    ('completed', models.BigIntegerField(default=0)),
                    ('failed', models.BigIntegerField(default=0)),
                    ('cancelled', models.BigIntegerField(default=0)),
                    ('letters_decided', models.BigIntegerField(db_default=0, default=0)),
                    ('letters_made', models.BigIntegerField(db_default=0, default=0)),
                    ('purged_cancelled', models.BigIntegerField(db_default=0, default=0)),
                    ('purged_completed', models.BigIntegerField(db_default=0, default=0)),
                    ('purged_failed', models.BigIntegerField(db_default=0, default=0)),
                    ('reopened', models.BigIntegerField(db_default=0, default=0)),
                ],
            ),
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
                    'permissions': [('view_metrics', 'Can read the metrics of all flows')],
                },
            ),
            migrations.CreateModel(
                name='AuditEntry',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='time')),
                    ('actor', models.CharField(blank=True, help_text="The user's name; empty: not known.", max_length=254, verbose_name='who')),
                    ('actor_id', models.CharField(blank=True, help_text="The user's id; empty: a user of the system.", max_length=64)),
                    ('source', models.CharField(choices=[('admin', 'Configuration Manager'), ('api', 'API'), ('command', 'Command'), ('task', 'Task'), ('code', 'Python code')], max_length=16, verbose_name='from')),
                    ('address', models.CharField(blank=True, help_text="The caller's address.", max_length=64)),
                    ('verb', models.CharField(max_length=32, verbose_name='what')),
                    ('kind', models.CharField(max_length=32, verbose_name='kind')),
                    ('name', models.CharField(blank=True, max_length=254, verbose_name='name')),
                    ('target_id', models.CharField(blank=True, max_length=64, verbose_name='id')),
                    ('before', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                    ('after', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                    ('reason', models.TextField(blank=True)),
                ],
                options={
                    'verbose_name': 'entry of the audit log',
                    'verbose_name_plural': 'audit log',
                    'ordering': ['-id'],
                    'default_permissions': ('view',),
                    'indexes': [models.Index(fields=['actor', '-id'], name='audit_by_actor'), models.Index(fields=['verb', '-id'], name='audit_by_verb'), models.Index(fields=['kind', 'name', '-id'], name='audit_by_target')],
                },
            ),
            migrations.CreateModel(
                name='RunText',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('text', models.TextField(help_text='Payloads, results and errors, a line each.')),
                    ('run', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='flows.run')),
                ],
                options={
                    'ordering': ['id'],
                },
            ),
            migrations.CreateModel(
                name='RunTextMark',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('first', models.BigIntegerField(default=0)),
                    ('last', models.BigIntegerField(default=0)),
                    ('seen', models.BigIntegerField(default=0)),
                    ('seen_at', models.DateTimeField()),
                    ('since', models.DateTimeField(help_text='Null: from the beginning.', null=True)),
                    ('until', models.DateTimeField(help_text='Null: none is there yet.', null=True)),
                ],
            ),
            migrations.CreateModel(
                name='RunningAttempt',
                fields=[
                    ('message_id', models.UUIDField(primary_key=True, serialize=False)),
                    ('consumer_id', models.BigIntegerField()),
                    ('delivery', models.PositiveIntegerField()),
                    ('started_at', models.DateTimeField()),
                    ('logs', models.TextField(blank=True, default='', help_text='JSON, or empty.')),
                    ('progress', models.TextField(blank=True, db_default='', default='', help_text='JSON with done, total, text, at; or empty.')),
                ],
                options={
                    'ordering': ['message_id'],
                    'indexes': [models.Index(models.F('consumer_id'), name='running_attempt_of_consumer')],
                },
            ),
            migrations.CreateModel(
                name='RefusedStarts',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('minute', models.DateTimeField()),
                    ('flow_name', models.CharField(max_length=100)),
                    ('cause', models.CharField(choices=[('full', 'full queue'), ('payload', 'payload'), ('rate', 'start rate')], max_length=16)),
                    ('count', models.PositiveBigIntegerField(default=0)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(models.F('minute'), models.F('flow_name'), models.F('cause'), name='refused_starts_once')],
                },
            ),
            migrations.CreateModel(
                name='FlowStateTotals',
                fields=[
                    ('flow', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='flows.flow')),
                    ('keys', models.PositiveIntegerField(default=0)),
                    ('bytes', models.BigIntegerField(default=0)),
                ],
                options={
                    'verbose_name_plural': 'flow state totals',
                },
            ),
            migrations.CreateModel(
                name='FlowState',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('key', models.CharField(max_length=200)),
                    ('value', models.TextField(help_text='JSON.')),
                    ('version', models.BigIntegerField()),
                    ('expires_at', models.DateTimeField(blank=True, null=True)),
                    ('changed_at', models.DateTimeField()),
                    ('flow', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='states', to='flows.flow')),
                ],
                options={
                    'verbose_name': 'state',
                    'ordering': ['flow', 'key'],
                    'indexes': [models.Index(models.F('expires_at'), condition=models.Q(('expires_at__isnull', False)), name='expiring_states')],
                    'constraints': [models.UniqueConstraint(fields=('flow', 'key'), name='one_value_per_key_of_a_flow')],
                },
            ),
            migrations.CreateModel(
                name='TokenName',
                fields=[
                    ('token', models.CharField(max_length=128, primary_key=True, serialize=False)),
                    ('name', models.CharField(max_length=100)),
                ],
            ),
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
            migrations.CreateModel(
                name='QuietEnd',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('run', models.UUIDField()),
                    ('at', models.DateTimeField()),
                ],
                options={
                    'ordering': ['id'],
                },
            ),
            migrations.CreateModel(
                name='TokenUse',
                fields=[
                    ('token', models.CharField(max_length=128, primary_key=True, serialize=False)),
                    ('used_at', models.DateTimeField()),
                ],
            ),
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
            migrations.CreateModel(
                name='ExternalIdentity',
                fields=[
                    ('key', models.CharField(max_length=64, primary_key=True, serialize=False)),
                    ('issuer', models.TextField()),
                    ('subject', models.CharField(max_length=255)),
                    ('roles', models.JSONField(default=list, help_text='The ids of the roles that tokens gave.')),
                    ('is_staff_given', models.BooleanField(default=False)),
                    ('issued_at', models.DateTimeField(null=True)),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='external_identities', to=settings.AUTH_USER_MODEL)),
                ],
            ),
            migrations.CreateModel(
                name='RecentStarts',
                fields=[
                    ('key', models.CharField(help_text='user or flow, and the primary key of it.', max_length=100, primary_key=True, serialize=False)),
                    ('starts', models.TextField(db_default='', default='', help_text='When, as flows/store/rate_limit.py writes it.')),
                ],
            ),
            migrations.CreateModel(
                name='FlowSchedule',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='One of its own in the flow; its runs have it as label.', max_length=100)),
                    ('active', models.BooleanField(default=True, help_text='While it is not active, no times are missed.')),
                    ('cron', models.CharField(help_text='Minute, hour, day of month, month, day of week, such as 30 6 * * MON-FRI; with a sixth field in front, seconds.', max_length=200, verbose_name='cron expression')),
                    ('time_zone', models.CharField(default='UTC', help_text='A name such as Europe/Berlin.', max_length=64)),
                    ('payload', models.TextField(default='{}', help_text='What each run is started with, a JSON object.')),
                    ('labels', models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='Labels of its runs, beside schedule.')),
                    ('priority', models.PositiveSmallIntegerField(default=4, help_text='Of waiting messages the higher ones go first, 0 to 9.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(9)])),
                    ('missed', models.CharField(choices=[('one', 'One run for all of them'), ('all', 'A run for each, the last 100'), ('skip', 'None')], default='one', help_text='What becomes of times at which nothing could be started, by more than a minute: no worker ran, or the queue was full.', max_length=8, verbose_name='missed times')),
                    ('overlap', models.CharField(choices=[('start', 'Start nevertheless'), ('skip', 'Leave this time out'), ('wait', 'Start once it has ended')], default='start', help_text='What happens where the run before has not ended.', max_length=8, verbose_name='last run still runs')),
                    ('jitter', models.DurationField(default=datetime.timedelta(0), help_text='Each start is later by a part of this, so that not all come at once.')),
                    ('flow', models.ForeignKey(help_text='The flow that it starts.', on_delete=django.db.models.deletion.CASCADE, related_name='schedules', to='flows.flow')),
                ],
                options={
                    'verbose_name': 'schedule',
                    'ordering': ['flow', 'name'],
                    'constraints': [models.UniqueConstraint(models.F('flow'), models.F('name'), name='schedule_name_once_per_flow')],
                },
            ),
            migrations.CreateModel(
                name='FlowScheduleState',
                fields=[
                    ('schedule', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='state', serialize=False, to='flows.flowschedule')),
                    ('settings', models.CharField(default='', max_length=300)),
                    ('time', models.DateTimeField(help_text='The next time of the expression.', null=True)),
                    ('at', models.DateTimeField(db_index=True, help_text='When the engine looks at it; null: never.', null=True)),
                    ('last_time', models.DateTimeField(help_text='The time of the last run.', null=True)),
                    ('last_run', models.UUIDField(null=True)),
                    ('problem', models.TextField(default='', help_text='Why the last time had no run; empty: it had.')),
                ],
            ),
            migrations.CreateModel(
                name='HistoricalFlowSchedule',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(help_text='One of its own in the flow; its runs have it as label.', max_length=100)),
                    ('active', models.BooleanField(default=True, help_text='While it is not active, no times are missed.')),
                    ('cron', models.CharField(help_text='Minute, hour, day of month, month, day of week, such as 30 6 * * MON-FRI; with a sixth field in front, seconds.', max_length=200, verbose_name='cron expression')),
                    ('time_zone', models.CharField(default='UTC', help_text='A name such as Europe/Berlin.', max_length=64)),
                    ('payload', models.TextField(default='{}', help_text='What each run is started with, a JSON object.')),
                    ('labels', models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='Labels of its runs, beside schedule.')),
                    ('priority', models.PositiveSmallIntegerField(default=4, help_text='Of waiting messages the higher ones go first, 0 to 9.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(9)])),
                    ('missed', models.CharField(choices=[('one', 'One run for all of them'), ('all', 'A run for each, the last 100'), ('skip', 'None')], default='one', help_text='What becomes of times at which nothing could be started, by more than a minute: no worker ran, or the queue was full.', max_length=8, verbose_name='missed times')),
                    ('overlap', models.CharField(choices=[('start', 'Start nevertheless'), ('skip', 'Leave this time out'), ('wait', 'Start once it has ended')], default='start', help_text='What happens where the run before has not ended.', max_length=8, verbose_name='last run still runs')),
                    ('jitter', models.DurationField(default=datetime.timedelta(0), help_text='Each start is later by a part of this, so that not all come at once.')),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('flow', models.ForeignKey(blank=True, db_constraint=False, help_text='The flow that it starts.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='flows.flow')),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical schedule',
                    'verbose_name_plural': 'historical schedules',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='LiveCluster',
                fields=[
                    ('key', models.CharField(max_length=300, primary_key=True, serialize=False)),
                    ('name', models.CharField(max_length=100)),
                    ('takes_unbound', models.BooleanField()),
                    ('seen_at', models.DateTimeField()),
                ],
            ),
            migrations.CreateModel(
                name='AlertsClock',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('evaluated_at', models.DateTimeField()),
                ],
            ),
            migrations.CreateModel(
                name='AlertTarget',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='What the target is called, such as team-mail.', max_length=100, unique=True)),
                    ('active', models.BooleanField(default=True, help_text='While it is not active, nothing is sent to it.')),
                    ('scheme', models.CharField(editable=False, max_length=40, verbose_name='kind')),
                    ('encrypted', models.TextField(editable=False)),
                    ('least_level', models.CharField(choices=[('warning', 'Warnings, too'), ('critical', 'Critical ones alone')], default='warning', help_text='Which it is told.', max_length=10, verbose_name='level')),
                    ('rules', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='The rules that it is told of; none chosen: all.')),
                    ('quiet_time', models.DurationField(default=datetime.timedelta(seconds=300), help_text='The least time between two messages. What happens meanwhile comes together.')),
                    ('repeat_after', models.DurationField(default=datetime.timedelta(days=1), help_text='An alert that goes on is told again after this time; 0 s: never.')),
                    ('tells_end', models.BooleanField(default=True, help_text='It is told when an alert has ended, too.', verbose_name='tells the end')),
                    ('changed_at', models.DateTimeField(editable=False, verbose_name='address changed')),
                ],
                options={
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='Alert',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('rule', models.CharField(max_length=100)),
                    ('flow', models.CharField(blank=True, default='', max_length=255)),
                    ('queue', models.CharField(blank=True, default='', max_length=255)),
                    ('subject', models.CharField(blank=True, default='', max_length=255)),
                    ('level', models.CharField(choices=[('warning', 'Warning'), ('critical', 'Critical')], max_length=10)),
                    ('sentence', models.TextField()),
                    ('advice', models.TextField(blank=True, default='')),
                    ('since', models.DateTimeField(help_text='When it was found first.')),
                    ('seen_at', models.DateTimeField(help_text='When it was found last.', verbose_name='last found')),
                    ('ended_at', models.DateTimeField(db_index=True, help_text='When it was found no more; empty: it fires.', null=True, verbose_name='ended')),
                ],
                options={
                    'ordering': [models.OrderBy(models.F('ended_at'), descending=True, nulls_first=True), '-since'],
                    'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('rule', 'flow', 'queue', 'subject'), name='alert_fires_once')],
                },
            ),
            migrations.CreateModel(
                name='AlertTargetState',
                fields=[
                    ('target', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='state', serialize=False, to='flows.alerttarget')),
                    ('taken_until', models.DateTimeField(help_text='Until then one process sends to it, or none tries again.', null=True)),
                    ('sent_at', models.DateTimeField(help_text='When the last message was sent.', null=True)),
                    ('failures', models.PositiveIntegerField(default=0, help_text='Since the last success.')),
                    ('error', models.CharField(blank=True, default='', max_length=500)),
                ],
            ),
            migrations.CreateModel(
                name='HistoricalAlertTarget',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text='What the target is called, such as team-mail.', max_length=100)),
                    ('active', models.BooleanField(default=True, help_text='While it is not active, nothing is sent to it.')),
                    ('scheme', models.CharField(editable=False, max_length=40, verbose_name='kind')),
                    ('least_level', models.CharField(choices=[('warning', 'Warnings, too'), ('critical', 'Critical ones alone')], default='warning', help_text='Which it is told.', max_length=10, verbose_name='level')),
                    ('rules', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='The rules that it is told of; none chosen: all.')),
                    ('quiet_time', models.DurationField(default=datetime.timedelta(seconds=300), help_text='The least time between two messages. What happens meanwhile comes together.')),
                    ('repeat_after', models.DurationField(default=datetime.timedelta(days=1), help_text='An alert that goes on is told again after this time; 0 s: never.')),
                    ('tells_end', models.BooleanField(default=True, help_text='It is told when an alert has ended, too.', verbose_name='tells the end')),
                    ('changed_at', models.DateTimeField(editable=False, verbose_name='address changed')),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical alert target',
                    'verbose_name_plural': 'historical alert targets',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='AlertNotice',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('level', models.CharField(max_length=10)),
                    ('told_at', models.DateTimeField()),
                    ('is_end', models.BooleanField(default=False)),
                    ('alert', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='flows.alert')),
                    ('target', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='flows.alerttarget')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(models.F('target'), models.F('alert'), name='alert_notice_once_per_target')],
                },
            ),
        ]),
        migrations.RunPython(keep_names, migrations.RunPython.noop),
        migrations.RunPython(tuning.tune, migrations.RunPython.noop),
        migrations.RunPython(index_letters, migrations.RunPython.noop),
        migrations.RunPython(texts_of_runs.index_texts, texts_of_runs.drop_index),
        migrations.RunPython(pending_starts.make, pending_starts.remove),
        migrations.RunSQL(
            'CREATE INDEX IF NOT EXISTS flows_due_tasks ON django_q_ormq ("key", "lock", "id")',
            'DROP INDEX IF EXISTS flows_due_tasks',
        ),
    ]
