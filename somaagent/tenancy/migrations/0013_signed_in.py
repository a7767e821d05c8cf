"""Who is signed in: in the organisation that they chose, for as long as their browser session is there.

The tables of sessions and of second factors are Django's and django-allauth's.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from somaagent.tenancy.rls import definer_function, definer_function_replaced

BY_USER = """
SELECT m.tenant_id, m.role, t.requests_per_minute{more}
FROM tenancy_membership m
JOIN tenancy_tenant t ON t.id = m.tenant_id AND t.suspended_at IS NULL
WHERE m.user_id = wanted{chosen} ORDER BY m.id LIMIT 1;
"""
OF_USER = "tenant_id uuid, role varchar, tenant_rate integer"
HAS_SECOND_FACTOR = """,
    EXISTS (SELECT FROM mfa_authenticator a WHERE a.user_id = wanted AND a.type = 'totp')"""
# Of who has chosen, that organisation or none.
CHOSEN = " AND (chosen IS NULL OR m.tenant_id = chosen)"

STANDING = """
SELECT w.place, m.role
FROM unnest({held}) WITH ORDINALITY AS w ({names}, place)
JOIN tenancy_tenant t ON t.id = w.tenant_id AND t.suspended_at IS NULL
JOIN tenancy_user u ON u.id = w.user_id AND u.is_active
JOIN tenancy_membership m ON m.tenant_id = w.tenant_id AND m.user_id = w.user_id
LEFT JOIN tenancy_apikey k ON k.id = w.key_id AND k.user_id = w.user_id
WHERE (w.key_id IS NULL OR (
    k.id IS NOT NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
)){more};
"""
IN_SESSION = """ AND (w.session_key IS NULL OR EXISTS (
    SELECT FROM django_session s WHERE s.session_key = w.session_key AND s.expire_date > now()
))"""
OF_STANDING = "TABLE (place bigint, role varchar)"
HELD = "tenants, users, keys"
NAMES = "tenant_id, user_id, key_id"

# Owners' rows are locked, in the order of their keys: who asks at the same time waits, and then sees.
LEFT_WITHOUT_OWNER = """
SELECT id FROM tenancy_membership WHERE role = 'owner' AND tenant_id IN (
    SELECT m.tenant_id FROM tenancy_membership m
    WHERE m.user_id = ANY (leaving) AND m.role = 'owner' AND (there IS NULL OR m.tenant_id = there)
) ORDER BY id FOR UPDATE;
SELECT t.id, t.name FROM tenancy_tenant t
WHERE (there IS NULL OR t.id = there) AND EXISTS (
    SELECT FROM tenancy_membership m
    WHERE m.tenant_id = t.id AND m.role = 'owner' AND m.user_id = ANY (leaving)
) AND NOT EXISTS (
    SELECT FROM tenancy_membership o JOIN tenancy_user u ON u.id = o.user_id AND u.is_active
    WHERE o.tenant_id = t.id AND o.role = 'owner' AND o.user_id <> ALL (leaving)
) ORDER BY t.name;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("tenancy", "0012_operating"),
        ("sessions", "0001_initial"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations: ClassVar = [
        definer_function_replaced(
            "tenancy_actor_by_user(wanted uuid)",
            gains="chosen uuid",
            now=(
                f"TABLE ({OF_USER}, has_second_factor boolean)",
                BY_USER.format(more=HAS_SECOND_FACTOR, chosen=CHOSEN),
            ),
            before=(f"TABLE ({OF_USER})", BY_USER.format(more="", chosen="")),
        ),
        definer_function_replaced(
            "tenancy_standing(tenants uuid[], users uuid[], keys uuid[])",
            gains="sessions text[]",
            now=(
                OF_STANDING,
                STANDING.format(held=f"{HELD}, sessions", names=f"{NAMES}, session_key", more=IN_SESSION),
            ),
            before=(OF_STANDING, STANDING.format(held=HELD, names=NAMES, more="")),
        ),
        definer_function(
            "tenancy_belongings(wanted uuid)",
            "TABLE (tenant_id uuid, tenant_name varchar, role varchar)",
            """
            SELECT t.id, t.name, m.role FROM tenancy_membership m
            JOIN tenancy_tenant t ON t.id = m.tenant_id AND t.suspended_at IS NULL
            WHERE m.user_id = wanted ORDER BY m.id;
            """,
        ),
        definer_function(
            "tenancy_left_without_owner(leaving uuid[], there uuid)",
            "TABLE (tenant_id uuid, tenant_name varchar)",
            LEFT_WITHOUT_OWNER,
        ),
    ]
