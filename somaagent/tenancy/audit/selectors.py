"""Reads of the audit, inside the tenant's scope."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery

from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Role

from .models import AuditEntry

READERS = frozenset({Role.OWNER.value, Role.ADMIN.value})


def entry_list(
    *,
    actor: Actor,
    action: str | None = None,
    user_id: UUID | None = None,
    target_type: str | None = None,
    target_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[AuditEntry]:
    """The tenant's entries that have all that is given. Raises ``role_missing`` for members and viewers.

    ``action`` may end with ``.*``: all actions on that kind of thing. ``until`` is not in it.
    """
    if actor.role not in READERS:
        raise SomaError(
            Kind.FORBIDDEN, "role_missing", "Owners and admins read the audit: ask one of your organisation."
        )
    entries = AuditEntry.objects.all()
    if action is not None and action.endswith(".*"):
        entries, action = entries.filter(action__startswith=action[:-1]), None
    given = {
        "action": action,
        "user_id": user_id,
        "target_type": target_type,
        "target_id": target_id,
        "created_at__gte": since,
        "created_at__lt": until,
    }
    return entries.filter(**{name: value for name, value in given.items() if value is not None})


def entries_newest(*, most: int) -> QuerySet[AuditEntry]:
    """The tenant's last entries, with ``user_name``: none of who is gone, or was not signed in."""
    names = get_user_model().objects.filter(pk=OuterRef("user_id")).values("username")[:1]
    return AuditEntry.objects.annotate(user_name=Subquery(names)).order_by("-id")[:most]
