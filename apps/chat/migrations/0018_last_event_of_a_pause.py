"""What a column says is told anew; the database has nothing to do."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0017_less_to_check")]

    operations = [
        migrations.AlterField(
            model_name="turn",
            name="last_event",
            field=models.IntegerField(
                default=0, help_text="The number of its final event, or of its last one before it was paused."
            ),
        ),
    ]
