"""Ending browser sessions. Whoever does, the streams that are open by them end too (``tenancy.standing``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from somaagent.tenancy.audit.entries import Who
from somaagent.tenancy.audit.people import audit_of_user
from somaagent.tenancy.models import User


def sessions_end(*, user: User, sessions: Iterable[UserSession], by: Who, chosen: UUID | None = None) -> int:
    """End these sessions of a user, and tell the audit (``audit_of_user``); gives how many."""
    with transaction.atomic():
        ended = _end(sessions)
        if ended:
            facts = {"sessions": ended}
            audit_of_user(user=user, by=by, action="user.sessions_ended", facts=facts, chosen=chosen)
    return ended


@receiver(post_save, sender=User)
def password_saved(instance: User, created: bool, **_: Any) -> None:
    """With another password no session is good any more; whoever chose it for themselves gets a new one."""
    if not created and instance._password is not None:  # type: ignore[attr-defined]  # noqa: SLF001 Django's own sign of it, until the save is over
        signed_out(user=instance)


def session_count(*, user: User) -> int:
    """In how many browsers somebody is signed in, as far as is known: some may have expired."""
    return int(UserSession.objects.filter(user=user).count())


def signed_out(*, user: User) -> int:
    """Sign somebody out everywhere, for a caller who tells the audit of it; gives how many sessions ended."""
    return _end(UserSession.objects.filter(user=user))


def _end(sessions: Iterable[UserSession]) -> int:
    ended = 0
    for session in sessions:
        session.end()
        ended += 1
    return ended
