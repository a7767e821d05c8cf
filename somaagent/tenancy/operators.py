"""Operators of the platform: who may do what belongs to no tenant, or to all of them."""

from __future__ import annotations

from somaagent.errors import Kind, SomaError

from .actor import Actor
from .models import Scope, User


def require_operator(actor: Actor, permission: str) -> User:
    """The user behind a credential, who may enter the admin and has ``permission`` (``app.action_model``).

    Asked anew each time, of the database. Raises ``scope_missing`` for a key without ``operate``, and
    ``operator_only`` for anybody who is no operator or lacks the permission.
    """
    actor.require(Scope.OPERATE)
    user = User.objects.filter(pk=actor.user_id, is_active=True, is_staff=True).first()
    if user is None or not user.has_perm(permission):
        sentence = "Only operators of the platform do this: ask one, or use the key of one."
        raise SomaError(Kind.FORBIDDEN, "operator_only", sentence)
    return user
