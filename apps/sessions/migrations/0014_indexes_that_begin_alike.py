import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from somaagent.tenancy.indexes import unique_anew, without_index

# Django's own, of foreign keys alone. ``session_created_once`` begins with the user from now on; sessions are
# looked for by their users, and messages by their sessions.
USER, TENANT = "agent_sessions_session_user_id_a2e02a4f", "agent_sessions_session_tenant_id_7cd72dbd"
MESSAGE = "agent_sessions_message_tenant_id_0a47fe14"


def unindexed(to):
    return models.ForeignKey(
        db_index=False,
        editable=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to=to,
    )


class Migration(migrations.Migration):
    # Sessions and messages are written while indexes come and go.
    atomic = False

    dependencies = [("agent_sessions", "0013_one_index_of_messages")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(model_name="session", name="session_created_once"),
                migrations.AddConstraint(
                    model_name="session",
                    constraint=models.UniqueConstraint(
                        fields=("user", "tenant", "idempotency_key"), name="session_created_once"
                    ),
                ),
                migrations.AlterField(
                    model_name="session",
                    name="user",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField("session", "tenant", unindexed("tenancy.tenant")),
                migrations.AlterField("message", "tenant", unindexed("tenancy.tenant")),
            ],
            database_operations=[
                unique_anew(
                    "session_created_once",
                    "agent_sessions_session",
                    now=("user_id", "tenant_id", "idempotency_key"),
                    before=("tenant_id", "user_id", "idempotency_key"),
                ),
                without_index(USER, "agent_sessions_session", "user_id"),
                without_index(TENANT, "agent_sessions_session", "tenant_id"),
                without_index(MESSAGE, "agent_sessions_message", "tenant_id"),
            ],
        ),
    ]
