from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

OPEN = ["queued", "running", "awaiting_approval"]


class Migration(migrations.Migration):
    # Turns are submitted while indexes come and go.
    atomic = False

    dependencies = [("chat", "0015_indexes_that_begin_alike")]

    operations = [
        # What a migration that was cut off has left.
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS turn_waiting_of_session", migrations.RunSQL.noop
        ),
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(
                condition=models.Q(("state__in", OPEN), ("started_at__isnull", True), _connector="OR"),
                fields=["session", "id"],
                name="turn_waiting_of_session",
            ),
        ),
        RemoveIndexConcurrently(model_name="turn", name="turn_unfinished_of_session"),
        RemoveIndexConcurrently(model_name="turn", name="turn_not_taken_of_session"),
        # A sweep goes through each tenant's turns of a state, and calls know when their questions expire.
        RemoveIndexConcurrently(model_name="turn", name="turn_open_by_lease"),
        RemoveIndexConcurrently(model_name="turn", name="turn_awaiting_approval"),
    ]
