"""A tenant keeps an owner who can act, whoever would take the last one: members, providers, operators."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connection

from somaagent.errors import Kind, SomaError

_LEFT = "SELECT tenant_name FROM tenancy_left_without_owner(%(leaving)s::uuid[], %(there)s::uuid)"


def left_without_owner(*, leaving: Iterable[UUID], tenant_id: UUID | None = None) -> list[str]:
    """The names of the tenants that would have no owner who can act, if these users were none any more.

    Of all tenants, or of one. Owners' rows are locked until the transaction ends: of two who would take the
    last two owners at once, one is told.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, {"leaving": list(leaving), "there": tenant_id})
        return [row[0] for row in cursor.fetchall()]


def require_another_owner(*, leaving: UUID, tenant_id: UUID) -> None:
    """Raise ``last_owner`` where the tenant has no owner who can act besides this user."""
    if left_without_owner(leaving=[leaving], tenant_id=tenant_id):
        sentence = "A tenant keeps at least one owner: make somebody else an owner first."
        raise SomaError(Kind.CONFLICT, "last_owner", sentence)
