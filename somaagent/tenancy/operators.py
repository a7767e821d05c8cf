"""Operators of the platform: who may do what belongs to no tenant, or to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from somaagent.errors import Kind, SomaError

from .actor import Actor
from .audit.entries import Who
from .models import Scope, User


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator at work. ``tenant_id``: the tenant of their credential; None where they belong to none."""

    user: User
    via: str
    tenant_id: UUID | None

    @property
    def who(self) -> Who:
        """As entries of the audit name them."""
        return Who(self.user.pk, self.via)


def require_operator(actor: Actor, permission: str) -> User:
    """The user behind a credential, who may enter the admin and has ``permission`` (``app.action_model``).

    Asked anew each time, of the database. Raises ``scope_missing`` for a key without ``operate``, and
    ``operator_only`` for anybody who is no operator or lacks the permission.
    """
    actor.require(Scope.OPERATE)
    user = _operator(actor, permission)
    if user is None:
        sentence = "Only operators of the platform do this: ask one, or use the key of one."
        raise operator_only(sentence)
    return user


def operates(actor: Actor, permission: str) -> bool:
    """Whether ``require_operator`` lets the actor pass: where operators may do more than others."""
    return Scope.OPERATE in actor.scopes and _operator(actor, permission) is not None


def _operator(actor: Actor, permission: str) -> User | None:
    user = User.objects.filter(pk=actor.user_id, is_active=True, is_staff=True).first()
    return user if user is not None and user.has_perm(permission) else None


def operator_by(actor: Actor, permission: str) -> Operator:
    """The same, as whom an operators' service is told of."""
    return Operator(require_operator(actor, permission), actor.via, actor.tenant_id)


def operator_only(sentence: str) -> SomaError:
    return SomaError(Kind.FORBIDDEN, "operator_only", sentence)


def stood_down() -> SomaError:
    """Of two operators who shut each other out at the same moment, the second is out already."""
    sentence = "You, or the organisation of your credential, were suspended a moment ago: nothing was done."
    return SomaError(Kind.CONFLICT, "suspended_meanwhile", sentence)
