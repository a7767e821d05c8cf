import django.core.validators
from django.db import migrations, models

from somaagent.tenancy.rls import definer_function_replaced

BY_API_KEY = """
UPDATE tenancy_apikey SET last_used_at = now()
WHERE digest = wanted AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
SELECT k.tenant_id, k.user_id, m.role, k.scopes, k.id{more}
FROM tenancy_apikey k
JOIN tenancy_user u ON u.id = k.user_id AND u.is_active
JOIN tenancy_tenant t ON t.id = k.tenant_id AND t.suspended_at IS NULL
JOIN tenancy_membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id
WHERE k.digest = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
"""
OF_KEY = "tenant_id uuid, user_id uuid, role varchar, scopes varchar[], key_id uuid"
BY_USER = """
SELECT m.tenant_id, m.role{more}
FROM tenancy_membership m
JOIN tenancy_tenant t ON t.id = m.tenant_id AND t.suspended_at IS NULL
WHERE m.user_id = wanted ORDER BY m.id LIMIT 1;
"""
OF_USER = "tenant_id uuid, role varchar"


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0003_budgets"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="requests_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Empty: as many as its tenant may.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(1000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="requests_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Of all its users and keys together. Empty: as many as they like.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(1000000),
                ],
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("requests_per_minute__gte", 1), ("requests_per_minute__lte", 1000000)),
                name="api_key_requests_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(("requests_per_minute__gte", 1), ("requests_per_minute__lte", 1000000)),
                name="tenant_requests_in_range",
            ),
        ),
        definer_function_replaced(
            "tenancy_actor_by_api_key(wanted bytea)",
            now=(
                f"TABLE ({OF_KEY}, key_rate integer, tenant_rate integer)",
                BY_API_KEY.format(more=", k.requests_per_minute, t.requests_per_minute"),
            ),
            before=(f"TABLE ({OF_KEY})", BY_API_KEY.format(more="")),
        ),
        definer_function_replaced(
            "tenancy_actor_by_user(wanted uuid)",
            now=(f"TABLE ({OF_USER}, tenant_rate integer)", BY_USER.format(more=", t.requests_per_minute")),
            before=(f"TABLE ({OF_USER})", BY_USER.format(more="")),
        ),
    ]
