from django.db import migrations

from somaagent.tenancy.rls import definer_function_replaced

BY_API_KEY = """
UPDATE tenancy_apikey SET last_used_at = now()
WHERE digest = wanted AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
SELECT k.tenant_id, k.user_id, m.role, k.scopes{more}
FROM tenancy_apikey k
JOIN tenancy_user u ON u.id = k.user_id AND u.is_active
JOIN tenancy_tenant t ON t.id = k.tenant_id AND t.suspended_at IS NULL
JOIN tenancy_membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
WHERE k.digest = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
"""
ACTOR = "tenant_id uuid, user_id uuid, role varchar, scopes varchar[]"


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0002_invitation"),
    ]

    operations = [
        definer_function_replaced(
            "tenancy_actor_by_api_key(wanted bytea)",
            now=(f"TABLE ({ACTOR}, key_id uuid)", BY_API_KEY.format(more=", k.id")),
            before=(f"TABLE ({ACTOR})", BY_API_KEY.format(more="")),
        ),
    ]
