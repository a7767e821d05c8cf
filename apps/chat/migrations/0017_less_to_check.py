import django.db.models.deletion
from django.db import migrations, models

from somaagent.tenancy.constraints import without_reference, without_sign_check

TENANT = models.ForeignKey(
    db_constraint=False,
    db_index=False,
    editable=False,
    on_delete=django.db.models.deletion.CASCADE,
    related_name="+",
    to="tenancy.tenant",
)
KEYS = {
    "turn": "chat_turn_tenant_id_f7aea03f_fk_tenancy_tenant_id",
    "step": "chat_step_tenant_id_ab0607b7_fk_tenancy_tenant_id",
}
COUNTS = {
    ("turn", "attempt"): models.SmallIntegerField(default=0),
    ("turn", "input_tokens"): models.IntegerField(default=0),
    ("turn", "cached_tokens"): models.IntegerField(default=0),
    ("turn", "output_tokens"): models.IntegerField(default=0),
    ("turn", "reasoning_tokens"): models.IntegerField(default=0),
    ("turn", "hosts_lost"): models.SmallIntegerField(db_default=0, default=0),
    ("turn", "last_event"): models.IntegerField(
        default=0, help_text="The sequence number of its final event."
    ),
    ("step", "number"): models.SmallIntegerField(),
    ("step", "version"): models.SmallIntegerField(),
}


class Migration(migrations.Migration):
    # A turn has its session's tenant, and a step its turn's: neither goes before they do. Nobody but us
    # counts, and each statement that writes a row has the database read all of its table's checks anew.
    atomic = False

    dependencies = [("chat", "0016_fewer_indexes_of_turns"), ("tenancy", "0014_order_of_events")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                *(without_sign_check(f"chat_{model}", column) for model, column in COUNTS),
                *(
                    without_reference(f"chat_{model}", "tenant_id", "tenancy_tenant", name)
                    for model, name in KEYS.items()
                ),
            ],
            [
                *(migrations.AlterField(model, column, field) for (model, column), field in COUNTS.items()),
                *(migrations.AlterField(model, "tenant", TENANT) for model in KEYS),
            ],
        )
    ]
