from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Turns are submitted while indexes are made.
    atomic = False

    dependencies = [("chat", "0011_turn_key")]

    operations = [
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(fields=["tenant", "-id"], name="turn_newest"),
        ),
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(
                condition=models.Q(
                    state__in=["queued", "running", "awaiting_approval", "failed", "cancelled"]
                ),
                fields=["tenant", "state", "-id"],
                name="turn_of_state",
            ),
        ),
    ]
