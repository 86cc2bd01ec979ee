from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("flows", "0007_idempotency_keys_by_caller"),
    ]

    operations = [
        migrations.CreateModel(
            name="LoginCount",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("began_at", models.DateTimeField(null=True)),
                ("failures", models.PositiveIntegerField(default=0)),
                (
                    "known_at",
                    models.DateTimeField(help_text="Of the last login that succeeded.", null=True),
                ),
                ("changed_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "indexes": [models.Index(models.F("changed_at"), name="login_count_by_change")],
            },
        ),
    ]
