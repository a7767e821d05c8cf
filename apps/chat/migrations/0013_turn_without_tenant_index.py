import django.db.models.deletion
from django.db import migrations, models

# Django's own, of the foreign key alone: ``turn_newest`` begins with the same column.
PLAIN = "chat_turn_tenant_id_f7aea03f"


class Migration(migrations.Migration):
    # Turns are submitted while an index goes.
    atomic = False

    dependencies = [("chat", "0012_turns_of_a_tenant")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="turn",
                    name="tenant",
                    field=models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                )
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{PLAIN}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{PLAIN}" ON chat_turn (tenant_id)',
                )
            ],
        ),
    ]
