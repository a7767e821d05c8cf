"""Users as operators deal with them, with what their accounts add: browser sessions and passwords."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from apps.accounts import endings
from somaagent.tenancy import users
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.operators import Operator


@dataclass(frozen=True, slots=True)
class Known:
    """What an operator may know of somebody. ``sessions``: in how many browsers they are signed in."""

    user: User
    tenants: list[Tenant]
    sessions: int


def user_known(*, user_id: UUID) -> Known:
    user = users.user_get(user_id=user_id)
    return Known(user, users.tenants_of(user_id=user_id), endings.session_count(user=user))


def user_sessions_end(*, operator: Operator, user_id: UUID) -> tuple[User, int]:
    """Sign somebody out of every browser; gives how many sessions there were. Their API keys go on."""
    with transaction.atomic():
        user = users.user_taken(operator=operator, user_id=user_id)
        ended = endings.signed_out(user=user)
        users.told(operator=operator, user=user, action="user.sessions_ended", facts={"sessions": ended})
    return user, ended
