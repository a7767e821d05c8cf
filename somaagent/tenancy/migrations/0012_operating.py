"""What operators need to make tenants once and to know how many people are in them; budgets made once, too."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from somaagent.tenancy.rls import definer_function

_MEMBERS = "SELECT count(*) FROM tenancy_membership m WHERE m.tenant_id = wanted;"
# Those who can act: where an operator shut the last one out, there is room for another one's invitation.
_OWNERS = """
SELECT count(*) FROM tenancy_membership m JOIN tenancy_user u ON u.id = m.user_id AND u.is_active
WHERE m.tenant_id = wanted AND m.role = 'owner';
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenancy", "0011_usage_found_by_time")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="tenant",
            name="idempotency_key",
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="request_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="made_by",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.UniqueConstraint(
                fields=("made_by", "idempotency_key"), name="tenant_made_once"
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="idempotency_key",
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="request_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(fields=("tenant", "idempotency_key"), name="budget_made_once"),
        ),
        # Operators see how many belong to a tenant, and not who.
        definer_function("tenancy_members_of(wanted uuid)", "bigint", _MEMBERS),
        definer_function("tenancy_owners_of(wanted uuid)", "bigint", _OWNERS),
    ]
