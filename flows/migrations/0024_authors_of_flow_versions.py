from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("flows", "0023_plain_help_texts"),
    ]

    operations = [
        migrations.AddField(
            model_name="flowversion",
            name="author",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=models.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="stepversion",
            name="threads",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
