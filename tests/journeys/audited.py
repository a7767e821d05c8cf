"""What the audit tells of somebody, for journeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.journeys.gateway import Gateway


def told_of(gateway: Gateway, name: str) -> list[str]:
    """The actions on a user and on their memberships, oldest first, in all organisations that they are in."""
    from django.db import connection  # noqa: PLC0415 - Django is not configured before

    from somaagent.tenancy.audit.models import AuditEntry  # noqa: PLC0415 - as above
    from somaagent.tenancy.models import Membership, User  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    def read() -> list[str]:
        user = User.objects.get(username=name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT tenant_id FROM tenancy_tenants_of_user(%s)", [user.pk])
            tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
        found: list[str] = []
        for tenant_id in tenants:
            with tenant_scope(tenant_id):
                member = Membership.objects.get(user=user)
                about = AuditEntry.objects.filter(target_id__in=[str(user.pk), str(member.pk)])
                found += about.order_by("number").values_list("action", flat=True)
        return found

    return gateway.in_database(read)
