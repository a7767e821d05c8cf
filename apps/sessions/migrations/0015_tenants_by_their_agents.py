import django.db.models.deletion
from django.db import migrations, models

from somaagent.tenancy.constraints import without_reference

TENANT = models.ForeignKey(
    db_constraint=False,
    db_index=False,
    editable=False,
    on_delete=django.db.models.deletion.CASCADE,
    related_name="+",
    to="tenancy.tenant",
)
KEYS = {
    "session": "agent_sessions_session_tenant_id_7cd72dbd_fk_tenancy_tenant_id",
    "message": "agent_sessions_message_tenant_id_0a47fe14_fk_tenancy_tenant_id",
}


class Migration(migrations.Migration):
    # A session has its agent's tenant, and a message its session's: neither goes before they do.
    atomic = False

    dependencies = [
        ("agent_sessions", "0014_indexes_that_begin_alike"),
        ("tenancy", "0014_order_of_events"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                without_reference(f"agent_sessions_{model}", "tenant_id", "tenancy_tenant", name)
                for model, name in KEYS.items()
            ],
            [migrations.AlterField(model, "tenant", TENANT) for model in KEYS],
        )
    ]
