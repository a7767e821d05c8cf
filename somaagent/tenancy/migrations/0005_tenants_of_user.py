from __future__ import annotations

from django.db import migrations

from somaagent.tenancy.rls import definer_function


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0004_rates")]

    operations = [
        definer_function(
            "tenancy_tenants_of_user(wanted uuid)",
            "TABLE (tenant_id uuid)",
            "SELECT m.tenant_id FROM tenancy_membership m WHERE m.user_id = wanted ORDER BY m.id;",
        ),
    ]
