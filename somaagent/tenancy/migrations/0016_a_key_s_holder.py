"""Whose a key is takes one look; that it was used is written once a minute, and looked for no more than then."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from somaagent.tenancy.rls import definer_function_replaced

OF_KEY = """TABLE (
    tenant_id uuid, user_id uuid, role varchar, scopes varchar[], key_id uuid, key_rate integer,
    tenant_rate integer
)"""
LIVE = """
FROM tenancy_apikey k
JOIN tenancy_user u ON u.id = k.user_id AND u.is_active
JOIN tenancy_tenant t ON t.id = k.tenant_id AND t.suspended_at IS NULL
JOIN tenancy_membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
WHERE k.digest = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
"""
FACTS = "k.tenant_id, k.user_id, m.role, k.scopes, k.id, k.requests_per_minute, t.requests_per_minute"
NOTED = """
UPDATE tenancy_apikey SET last_used_at = now()
WHERE digest = wanted AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
"""
ONE_LOOK = f"""
#variable_conflict use_column
DECLARE
    long_ago boolean;
BEGIN
    SELECT {FACTS}, k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
    INTO tenant_id, user_id, role, scopes, key_id, key_rate, tenant_rate, long_ago
    {LIVE}
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF long_ago THEN
        {NOTED}
    END IF;
    RETURN NEXT;
END
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenancy", "0015_less_to_check")]

    operations: ClassVar = [
        definer_function_replaced(
            "tenancy_actor_by_api_key(wanted bytea)",
            now=(OF_KEY, ONE_LOOK),
            before=(OF_KEY, f"{NOTED}SELECT {FACTS}{LIVE}"),
            language="plpgsql",
        ),
    ]
