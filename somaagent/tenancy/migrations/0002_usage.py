import django.db.models.deletion
from django.db import migrations, models

import somaagent.tenancy.fields
from somaagent.tenancy.rls import append_only, definer_function_replaced, tenant_policy

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
        ("tenancy", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="UsageRecord",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=somaagent.tenancy.fields.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("turn", "Turn"),
                            ("completion", "Completion"),
                            ("embeddings", "Embeddings"),
                        ],
                        max_length=16,
                    ),
                ),
                ("run_id", models.UUIDField()),
                ("step", models.PositiveSmallIntegerField()),
                ("user_id", models.UUIDField()),
                ("api_key_id", models.UUIDField(null=True)),
                ("agent_id", models.UUIDField(null=True)),
                ("agent", models.CharField(blank=True, max_length=63)),
                ("profile", models.CharField(blank=True, max_length=63)),
                ("input_tokens", models.PositiveIntegerField(default=0)),
                ("cached_tokens", models.PositiveIntegerField(default=0)),
                ("output_tokens", models.PositiveIntegerField(default=0)),
                ("reasoning_tokens", models.PositiveIntegerField(default=0)),
                ("input_price", models.DecimalField(decimal_places=6, max_digits=12, null=True)),
                ("cached_price", models.DecimalField(decimal_places=6, max_digits=12, null=True)),
                ("output_price", models.DecimalField(decimal_places=6, max_digits=12, null=True)),
                ("reasoning_price", models.DecimalField(decimal_places=6, max_digits=12, null=True)),
                ("cost", models.DecimalField(decimal_places=12, max_digits=24, null=True)),
                ("estimated", models.BooleanField(default=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["tenant", "-id"], name="usage_newest")],
                "constraints": [
                    models.UniqueConstraint(fields=("run_id", "step"), name="usage_recorded_once")
                ],
            },
        ),
        tenant_policy("tenancy_usagerecord"),
        append_only("tenancy_usagerecord"),
        definer_function_replaced(
            "tenancy_actor_by_api_key(wanted bytea)",
            now=(f"TABLE ({ACTOR}, key_id uuid)", BY_API_KEY.format(more=", k.id")),
            before=(f"TABLE ({ACTOR})", BY_API_KEY.format(more="")),
        ),
    ]
