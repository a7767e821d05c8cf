import django.db.models.deletion
from django.db import migrations, models

# Django's own, of foreign keys alone: ``turn_of_session`` and ``step_once`` begin with the same columns.
TURN, STEP = "chat_turn_session_id_da3ff322", "chat_step_turn_id_2af07994"


def without(index, table, column):
    return migrations.RunSQL(
        f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"',
        f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{index}" ON {table} ({column})',
    )


class Migration(migrations.Migration):
    # Turns are submitted while an index goes.
    atomic = False

    dependencies = [("chat", "0013_turn_without_tenant_index")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="turn",
                    name="session",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="turns",
                        to="agent_sessions.session",
                    ),
                ),
                migrations.AlterField(
                    model_name="step",
                    name="turn",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="chat.turn",
                    ),
                ),
            ],
            database_operations=[
                without(TURN, "chat_turn", "session_id"),
                without(STEP, "chat_step", "turn_id"),
            ],
        ),
    ]
