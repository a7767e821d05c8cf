"""Who belongs to a tenant, as statements (see ``scripts``)."""

from __future__ import annotations

from uuid import UUID

from .scripts import Statement


def membership(user_id: UUID) -> Statement:
    """The role of an active user in the tenant; no row: they are no member."""
    sql = """
        SELECT membership.role FROM tenancy_membership membership
        JOIN tenancy_user member ON member.id = membership.user_id
        WHERE membership.user_id = %(user)s AND member.is_active
    """
    return Statement(sql, {"user": user_id})
