from django.db import migrations, models


def keep_suspects(apps, schema_editor):
    messages = apps.get_model("flows", "Message").objects.using(schema_editor.connection.alias)
    messages.filter(suspect=True).update(suspects=1)


class Migration(migrations.Migration):
    dependencies = [
        ("flows", "0011_reason_too_large"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="suspects",
            field=models.PositiveSmallIntegerField(
                default=0,
                help_text="A worker died while it held this: so many like it are delivered"
                " together, to find which it was; 0: it is not suspected.",
            ),
        ),
        migrations.RunPython(keep_suspects, migrations.RunPython.noop, elidable=True),
        migrations.RemoveField(model_name="message", name="suspect"),
    ]
