"""Browser sessions of somebody, as operators end them. (One's own: ``session_views``.)"""

from __future__ import annotations

from allauth.usersessions.models import UserSession

from somaagent.tenancy.models import User
from somaagent.tenancy.standing import look_again


def session_count(*, user: User) -> int:
    """In how many browsers somebody is signed in, as far as is known: some may have expired."""
    return int(UserSession.objects.filter(user=user).count())


def sessions_end(*, user: User) -> int:
    """Sign somebody out everywhere. Gives how many sessions were ended."""
    sessions = list(UserSession.objects.filter(user=user))
    for session in sessions:
        session.end()
    look_again()
    return len(sessions)
