from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Sessions are begun while an index is made.
    atomic = False

    dependencies = [("agent_sessions", "0008_embeddings")]

    operations = [
        AddIndexConcurrently(
            model_name="session",
            index=models.Index(
                condition=models.Q(("archived_at__isnull", True)),
                fields=["tenant", "user", "-id"],
                name="session_active_of_user",
            ),
        ),
        AddIndexConcurrently(
            model_name="session",
            index=models.Index(
                condition=models.Q(("archived_at__isnull", False)),
                fields=["tenant", "user", "-id"],
                name="session_archived_of_user",
            ),
        ),
        RemoveIndexConcurrently(model_name="session", name="session_of_user"),
    ]
