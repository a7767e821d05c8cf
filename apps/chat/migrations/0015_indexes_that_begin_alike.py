import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from somaagent.tenancy.indexes import unique_anew, without_index

# Django's own, of foreign keys alone. ``turn_submitted_once`` begins with the user from now on, and steps are
# looked for by their turns.
USER, TENANT = "chat_turn_user_id_2fdb08e3", "chat_step_tenant_id_ab0607b7"


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
                unique_anew(
                    "turn_submitted_once",
                    "chat_turn",
                    now=("user_id", "tenant_id", "idempotency_key"),
                    before=("tenant_id", "user_id", "idempotency_key"),
                ),
                without_index(USER, "chat_turn", "user_id"),
                without_index(TENANT, "chat_step", "tenant_id"),
            ],
        ),
    ]
