from django.db import migrations

from somaagent.tenancy.rls import definer_function


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0006_invitation"),
    ]

    operations = [
        # A process asks for all that are connected to it, of all tenants at once.
        definer_function(
            "tenancy_standing(tenants uuid[], users uuid[], keys uuid[])",
            "TABLE (place bigint, role varchar)",
            """
            SELECT w.place, m.role
            FROM unnest(tenants, users, keys) WITH ORDINALITY AS w (tenant_id, user_id, key_id, place)
            JOIN tenancy_tenant t ON t.id = w.tenant_id AND t.suspended_at IS NULL
            JOIN tenancy_user u ON u.id = w.user_id AND u.is_active
            JOIN tenancy_membership m ON m.tenant_id = w.tenant_id AND m.user_id = w.user_id
            LEFT JOIN tenancy_apikey k ON k.id = w.key_id AND k.user_id = w.user_id
            WHERE w.key_id IS NULL OR (
                k.id IS NOT NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
            );
            """,
        ),
    ]
