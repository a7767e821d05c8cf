import django.db.models.deletion
from django.db import migrations, models

from somaagent.tenancy.constraints import without_reference
from somaagent.tenancy.indexes import without_index

TABLE, COLUMN = "agent_sessions_session", "active_message_id"


class Migration(migrations.Migration):
    # Each turn changes it. Without an index of it, a session's row stays where all of its indexes find it; and
    # the index was there for the foreign key alone, which is kept by who holds the session.
    atomic = False

    dependencies = [("agent_sessions", "0015_tenants_by_their_agents")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                without_reference(
                    TABLE,
                    COLUMN,
                    "agent_sessions_message",
                    "agent_sessions_sessi_active_message_id_88c90329_fk_agent_ses",
                ),
                without_index("agent_sessions_session_active_message_id_88c90329", TABLE, COLUMN),
            ],
            [
                migrations.AlterField(
                    "session",
                    "active_message",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        help_text="The last message of the active branch.",
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="agent_sessions.message",
                    ),
                )
            ],
        )
    ]
