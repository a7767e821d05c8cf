"""Who belongs to a tenant, as statements (see ``scripts``)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from .scripts import Row, Statement


def membership(user_id: UUID) -> Statement:
    """The role of an active user in the tenant; no row: they are no member."""
    sql = """
        SELECT membership.role FROM tenancy_membership membership
        JOIN tenancy_user member ON member.id = membership.user_id
        WHERE membership.user_id = %(user)s AND member.is_active
    """
    return Statement(sql, {"user": user_id})


def role_of(rows: Sequence[Row]) -> str:
    """The role out of the rows of ``membership``; empty for who is no member."""
    return rows[0][0] if rows else ""
