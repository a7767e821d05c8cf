import django.db.models.deletion
from django.db import migrations, models

# Django's own, of the foreign key alone: ``usage_newest`` begins with the same column.
PLAIN = "tenancy_usagerecord_tenant_id_025346c9"


class Migration(migrations.Migration):
    # Steps are written down while an index goes.
    atomic = False

    dependencies = [("tenancy", "0010_operate")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="usagerecord",
                    name="tenant",
                    field=models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                )
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{PLAIN}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{PLAIN}" ON tenancy_usagerecord (tenant_id)',
                )
            ],
        ),
    ]
