import datetime
import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from scripts.migrations._creation import CreateModels


class Migration(migrations.Migration):
    """Make the tables of an empty database in one step. Other databases go on by the old ones."""

    initial = True
    replaces = [
        ('scripts', '0001_configuration_and_runtime'),
        ('scripts', '0002_libraries_and_secrets'),
        ('scripts', '0003_callables'),
        ('scripts', '0004_grants_and_trial_records'),
        ('scripts', '0005_help_on_every_field'),
        ('scripts', '0006_configuration_values'),
        ('scripts', '0007_secrets_not_readable'),
        ('scripts', '0008_reference_tables'),
    ]
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='Script',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('language', models.CharField(choices=[('python', 'Python'), ('javascript', 'JavaScript'), ('callable', 'Callable')], default='python', max_length=16)),
                    ('code', models.TextField()),
                    ('input_schema', models.JSONField(blank=True, default=dict, help_text='JSON Schema of the payload; empty accepts any.')),
                    ('output_schema', models.JSONField(blank=True, default=dict, help_text="JSON Schema of the output's payload; empty: any.")),
                    ('timeout', models.DurationField(default=datetime.timedelta(seconds=30), help_text='A run of the script is ended after this time.')),
                    ('memory_mb', models.PositiveIntegerField(default=256, validators=[django.core.validators.MinValueValidator(16), django.core.validators.MaxValueValidator(65536)], verbose_name='memory (MB)')),
                    ('network', models.BooleanField(default=False, help_text='May the script make outside calls?')),
                    ('name', models.CharField(help_text='What steps and exports call it by.', max_length=100, unique=True)),
                    ('description', models.TextField(blank=True, help_text='What it does, for those who read it.')),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('allowed_hosts', models.JSONField(blank=True, default=list, help_text='Hosts that it may call; empty: every public one.')),
                    ('private_addresses', models.BooleanField(default=False, help_text='May it call addresses of the private network, too?')),
                    ('secrets', models.JSONField(blank=True, default=list, help_text='Secrets that it may read.')),
                    ('in_transaction', models.BooleanField(default=False, help_text='Commit what a callable writes to the database together with the hand-over of its output. It has 2 s at most.')),
                    ('tables', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Reference tables that it may read.')),
                ],
                options={
                    'ordering': ['name'],
                    'permissions': [('use_secrets', 'Can use secrets in scripts'), ('call_private_addresses', 'Can let scripts call private addresses'), ('call_any_host', 'Can let scripts call any host')],
                },
            ),
            migrations.CreateModel(
                name='HistoricalScript',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('language', models.CharField(choices=[('python', 'Python'), ('javascript', 'JavaScript'), ('callable', 'Callable')], default='python', max_length=16)),
                    ('code', models.TextField()),
                    ('input_schema', models.JSONField(blank=True, default=dict, help_text='JSON Schema of the payload; empty accepts any.')),
                    ('output_schema', models.JSONField(blank=True, default=dict, help_text="JSON Schema of the output's payload; empty: any.")),
                    ('timeout', models.DurationField(default=datetime.timedelta(seconds=30), help_text='A run of the script is ended after this time.')),
                    ('memory_mb', models.PositiveIntegerField(default=256, validators=[django.core.validators.MinValueValidator(16), django.core.validators.MaxValueValidator(65536)], verbose_name='memory (MB)')),
                    ('network', models.BooleanField(default=False, help_text='May the script make outside calls?')),
                    ('name', models.CharField(db_index=True, help_text='What steps and exports call it by.', max_length=100)),
                    ('description', models.TextField(blank=True, help_text='What it does, for those who read it.')),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('allowed_hosts', models.JSONField(blank=True, default=list, help_text='Hosts that it may call; empty: every public one.')),
                    ('private_addresses', models.BooleanField(default=False, help_text='May it call addresses of the private network, too?')),
                    ('secrets', models.JSONField(blank=True, default=list, help_text='Secrets that it may read.')),
                    ('in_transaction', models.BooleanField(default=False, help_text='Commit what a callable writes to the database together with the hand-over of its output. It has 2 s at most.')),
                    ('tables', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Reference tables that it may read.')),
                ],
                options={
                    'verbose_name': 'historical script',
                    'verbose_name_plural': 'historical scripts',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='ScriptVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('language', models.CharField(choices=[('python', 'Python'), ('javascript', 'JavaScript'), ('callable', 'Callable')], default='python', max_length=16)),
                    ('code', models.TextField()),
                    ('input_schema', models.JSONField(blank=True, default=dict, help_text='JSON Schema of the payload; empty accepts any.')),
                    ('output_schema', models.JSONField(blank=True, default=dict, help_text="JSON Schema of the output's payload; empty: any.")),
                    ('timeout', models.DurationField(default=datetime.timedelta(seconds=30), help_text='A run of the script is ended after this time.')),
                    ('memory_mb', models.PositiveIntegerField(default=256, validators=[django.core.validators.MinValueValidator(16), django.core.validators.MaxValueValidator(65536)], verbose_name='memory (MB)')),
                    ('network', models.BooleanField(default=False, help_text='May the script make outside calls?')),
                    ('script_name', models.CharField(max_length=100)),
                    ('number', models.PositiveIntegerField()),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('script', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='versions', to='scripts.script')),
                    ('allowed_hosts', models.JSONField(blank=True, default=list, help_text='Hosts that it may call; empty: every public one.')),
                    ('libraries', models.JSONField(default=list)),
                    ('private_addresses', models.BooleanField(default=False, help_text='May it call addresses of the private network, too?')),
                    ('secrets', models.JSONField(blank=True, default=list, help_text='Secrets that it may read.')),
                    ('in_transaction', models.BooleanField(default=False, help_text='Commit what a callable writes to the database together with the hand-over of its output. It has 2 s at most.')),
                    ('tables', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Reference tables that it may read.')),
                ],
                options={
                    'ordering': ['script_name', '-number'],
                    'constraints': [models.UniqueConstraint(models.F('script'), models.F('number'), name='one_script_version_per_number')],
                },
            ),
            migrations.CreateModel(
                name='Library',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=100, unique=True)),
                    ('language', models.CharField(choices=[('python', 'Python'), ('javascript', 'JavaScript')], default='python', max_length=16)),
                    ('code', models.TextField()),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                ],
                options={
                    'verbose_name_plural': 'libraries',
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='Secret',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='What scripts ask for; it cannot be changed later.', max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9_][A-Za-z0-9_.-]*\\Z', 'Letters, digits, and _ . - inside.')])),
                    ('description', models.TextField(blank=True, help_text='What it opens, and where a new value comes from.')),
                    ('encrypted', models.TextField(editable=False)),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('changed_at', models.DateTimeField(editable=False, verbose_name='value changed')),
                    ('is_readable', models.BooleanField(db_default=True, default=True, help_text='Otherwise it is for signatures and certificates alone: it enters no script.', verbose_name='readable by scripts')),
                ],
                options={
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='HistoricalLibrary',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, max_length=100)),
                    ('language', models.CharField(choices=[('python', 'Python'), ('javascript', 'JavaScript')], default='python', max_length=16)),
                    ('code', models.TextField()),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical library',
                    'verbose_name_plural': 'historical libraries',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='HistoricalSecret',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text='What scripts ask for; it cannot be changed later.', max_length=100, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9_][A-Za-z0-9_.-]*\\Z', 'Letters, digits, and _ . - inside.')])),
                    ('description', models.TextField(blank=True, help_text='What it opens, and where a new value comes from.')),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('changed_at', models.DateTimeField(editable=False, verbose_name='value changed')),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('is_readable', models.BooleanField(db_default=True, default=True, help_text='Otherwise it is for signatures and certificates alone: it enters no script.', verbose_name='readable by scripts')),
                ],
                options={
                    'verbose_name': 'historical secret',
                    'verbose_name_plural': 'historical secrets',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='LibraryUse',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('position', models.PositiveIntegerField()),
                    ('library', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uses', to='scripts.library')),
                    ('script', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='library_uses', to='scripts.script')),
                ],
                options={
                    'ordering': ['script', 'position'],
                    'constraints': [models.UniqueConstraint(models.F('script'), models.F('library'), name='library_once_per_script')],
                },
            ),
            migrations.CreateModel(
                name='TrialRecord',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='tried at')),
                    ('user_name', models.CharField(max_length=150, verbose_name='user')),
                    ('script_name', models.CharField(max_length=100, verbose_name='script')),
                    ('code_digest', models.CharField(help_text="SHA-256 of the code and of its libraries' code.", max_length=64)),
                    ('secrets', models.JSONField(default=list, verbose_name='secrets it might read')),
                    ('hosts', models.JSONField(default=list, verbose_name='hosts it might call')),
                    ('private_addresses', models.BooleanField(default=False)),
                    ('secrets_read', models.JSONField(default=list, verbose_name='secrets it read')),
                    ('hosts_called', models.JSONField(default=list, verbose_name='hosts it called')),
                    ('script', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='scripts.script')),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'trial',
                    'ordering': ['-id'],
                },
            ),
            migrations.CreateModel(
                name='ConfigurationValue',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='What scripts ask for; it cannot be changed later.', max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-z_][a-z0-9_.-]*\\Z', 'Small letters, digits, and _ . - inside.')])),
                    ('value', models.TextField(blank=True, help_text='Every script can read it, so it must be no password and no key.', max_length=10000)),
                    ('description', models.TextField(blank=True, help_text='What it is for.')),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                ],
                options={
                    'verbose_name': 'value',
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='HistoricalConfigurationValue',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text='What scripts ask for; it cannot be changed later.', max_length=100, validators=[django.core.validators.RegexValidator('^[a-z_][a-z0-9_.-]*\\Z', 'Small letters, digits, and _ . - inside.')])),
                    ('value', models.TextField(blank=True, help_text='Every script can read it, so it must be no password and no key.', max_length=10000)),
                    ('description', models.TextField(blank=True, help_text='What it is for.')),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical value',
                    'verbose_name_plural': 'historical values',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='ReferenceTable',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(help_text='What scripts ask for; it cannot be changed later.', max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9_][A-Za-z0-9_.-]*\\Z', 'Letters, digits, and _ . - inside.')])),
                    ('description', models.TextField(blank=True, help_text='What it has, and where a new file comes from.')),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                ],
                options={
                    'verbose_name': 'table',
                    'ordering': ['name'],
                },
            ),
            migrations.CreateModel(
                name='TableContent',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('identity', models.CharField(max_length=64, unique=True)),
                    ('digest', models.CharField(help_text='SHA-256 of the file.', max_length=64)),
                    ('format', models.CharField(max_length=8)),
                    ('key', models.TextField(blank=True)),
                    ('columns', models.JSONField(blank=True, null=True)),
                    ('size', models.PositiveBigIntegerField(help_text='Bytes of the file.')),
                    ('rows', models.PositiveIntegerField()),
                ],
            ),
            migrations.CreateModel(
                name='HistoricalReferenceTable',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('name', models.CharField(db_index=True, help_text='What scripts ask for; it cannot be changed later.', max_length=100, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9_][A-Za-z0-9_.-]*\\Z', 'Letters, digits, and _ . - inside.')])),
                    ('description', models.TextField(blank=True, help_text='What it has, and where a new file comes from.')),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_change_reason', models.CharField(max_length=100, null=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical table',
                    'verbose_name_plural': 'historical tables',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='TablePiece',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('position', models.PositiveIntegerField()),
                    ('compressed', models.BinaryField()),
                    ('content', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pieces', to='scripts.tablecontent')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(models.F('content'), models.F('position'), name='one_piece_per_position')],
                },
            ),
            migrations.CreateModel(
                name='TableVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('content', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='scripts.tablecontent')),
                    ('table', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='scripts.referencetable')),
                ],
                options={
                    'ordering': ['table', '-number'],
                    'constraints': [models.UniqueConstraint(models.F('table'), models.F('number'), name='one_table_version_per_number')],
                },
            ),
        ]),
    ]
