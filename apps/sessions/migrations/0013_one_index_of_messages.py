import django.db.models.deletion
from django.db import migrations, models

# Django's own, of the foreign key alone: ``message_of_session`` begins with the same column.
PLAIN = "agent_sessions_message_session_id_702865c4"


class Migration(migrations.Migration):
    # Messages are written while an index goes.
    atomic = False

    dependencies = [("agent_sessions", "0012_tenants_own_profiles")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="message",
                    name="session",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="agent_sessions.session",
                    ),
                )
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{PLAIN}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{PLAIN}" '
                    "ON agent_sessions_message (session_id)",
                )
            ],
        ),
    ]
