from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Turns are submitted while indexes are made.
    atomic = False

    dependencies = [("chat", "0009_approvals")]

    operations = [
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(
                condition=models.Q(state__in=["queued", "running", "awaiting_approval"]),
                fields=["session", "id"],
                name="turn_unfinished_of_session",
            ),
        ),
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(
                condition=models.Q(state="awaiting_approval"),
                fields=["approvals_expire_at"],
                name="turn_awaiting_approval",
            ),
        ),
        RemoveIndexConcurrently(model_name="turn", name="turn_open_of_session"),
    ]
