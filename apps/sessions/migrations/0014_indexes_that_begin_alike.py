import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Django's own, of foreign keys alone. ``session_created_once`` begins with the user from now on; sessions are
# looked for by their users, and messages by their sessions.
USER, TENANT = "agent_sessions_session_user_id_a2e02a4f", "agent_sessions_session_tenant_id_7cd72dbd"
MESSAGE = "agent_sessions_message_tenant_id_0a47fe14"


def without(index, table, column):
    return migrations.RunSQL(
        f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"',
        f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{index}" ON {table} ({column})',
    )


def once_by(*columns):
    """The constraint anew, over an index of these columns that is made before. Each may be run again."""
    return [
        "DROP INDEX CONCURRENTLY IF EXISTS session_created_once_new",
        f"""
        CREATE UNIQUE INDEX CONCURRENTLY session_created_once_new
        ON agent_sessions_session ({", ".join(columns)})
        """,
        """
        ALTER TABLE agent_sessions_session DROP CONSTRAINT IF EXISTS session_created_once,
        ADD CONSTRAINT session_created_once UNIQUE USING INDEX session_created_once_new
        """,
    ]


def without_index(to):
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
                migrations.AlterField("session", "tenant", without_index("tenancy.tenant")),
                migrations.AlterField("message", "tenant", without_index("tenancy.tenant")),
            ],
            database_operations=[
                migrations.RunSQL(
                    once_by("user_id", "tenant_id", "idempotency_key"),
                    once_by("tenant_id", "user_id", "idempotency_key"),
                ),
                without(USER, "agent_sessions_session", "user_id"),
                without(TENANT, "agent_sessions_session", "tenant_id"),
                without(MESSAGE, "agent_sessions_message", "tenant_id"),
            ],
        ),
    ]
