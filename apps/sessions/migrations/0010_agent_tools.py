import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agent_sessions", "0009_sessions_of_a_user"),
    ]

    operations = [
        migrations.AddField(
            model_name="agent",
            name="tools",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64),
                blank=True,
                db_default=[],
                default=list,
                help_text="The tools that it may use, by name; * stands for any characters.",
                size=None,
            ),
        ),
    ]
