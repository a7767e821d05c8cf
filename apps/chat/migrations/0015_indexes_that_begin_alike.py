import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Django's own, of foreign keys alone. ``turn_submitted_once`` begins with the user from now on, and steps are
# looked for by their turns.
USER, TENANT = "chat_turn_user_id_2fdb08e3", "chat_step_tenant_id_ab0607b7"


def without(index, table, column):
    return migrations.RunSQL(
        f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"',
        f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{index}" ON {table} ({column})',
    )


def once_by(*columns):
    """The constraint anew, over an index of these columns that is made before. Each may be run again."""
    return [
        "DROP INDEX CONCURRENTLY IF EXISTS turn_submitted_once_new",
        f"CREATE UNIQUE INDEX CONCURRENTLY turn_submitted_once_new ON chat_turn ({', '.join(columns)})",
        """
        ALTER TABLE chat_turn DROP CONSTRAINT IF EXISTS turn_submitted_once,
        ADD CONSTRAINT turn_submitted_once UNIQUE USING INDEX turn_submitted_once_new
        """,
    ]


class Migration(migrations.Migration):
    # Turns are submitted while indexes come and go.
    atomic = False

    dependencies = [("chat", "0014_one_index_of_a_session")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(model_name="turn", name="turn_submitted_once"),
                migrations.AddConstraint(
                    model_name="turn",
                    constraint=models.UniqueConstraint(
                        fields=("user", "tenant", "idempotency_key"), name="turn_submitted_once"
                    ),
                ),
                migrations.AlterField(
                    model_name="turn",
                    name="user",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField(
                    model_name="step",
                    name="tenant",
                    field=models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    once_by("user_id", "tenant_id", "idempotency_key"),
                    once_by("tenant_id", "user_id", "idempotency_key"),
                ),
                without(USER, "chat_turn", "user_id"),
                without(TENANT, "chat_step", "tenant_id"),
            ],
        ),
    ]
