"""Users, as operators of the platform deal with them: people, who may belong to several tenants or to none.

Nobody does these things to themselves, and one operator who may act is always left. What is done to a user
is told in the audit of the tenant that they sign in to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from somaagent.errors import Kind, SomaError, not_found

from .audit.people import audit_of_user
from .models import Tenant, User
from .operators import Operator, operator_only, stood_down
from .services import one_time_password


def user_list(
    *, search: str = "", active: bool | None = None, operators: bool | None = None
) -> QuerySet[User]:
    """Everybody whose name or address has ``search`` in it, and who is as asked."""
    rows = User.objects.all()
    if search:
        names = ("username", "email", "first_name", "last_name")
        found = Q()
        for name in names:
            found |= Q(**{f"{name}__icontains": search})
        rows = rows.filter(found)
    given = {"is_active": active, "is_staff": operators}
    return rows.filter(**{name: value for name, value in given.items() if value is not None})


def user_get(*, user_id: UUID) -> User:
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise not_found("user")
    return user


def tenants_of(*, user_id: UUID) -> list[Tenant]:
    """The tenants that a user is a member of, the first membership first. As what, the tenant may say."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenancy_tenants_of_user(%s)", [user_id])
        ids = [row[0] for row in cursor.fetchall()]
    found = Tenant.objects.in_bulk(ids)
    return [found[tenant_id] for tenant_id in ids if tenant_id in found]


def user_suspend(*, operator: Operator, user_id: UUID) -> User:
    """Shut somebody out: every session, key and open stream of theirs, in every tenant, is dead at once.

    Raises ``last_operator`` and ``oneself``. A second time changes nothing.
    """
    with transaction.atomic():
        user = user_taken(operator=operator, user_id=user_id)
        if user.is_active:
            _set_active(operator, user, active=False)
    return user


def user_resume(*, operator: Operator, user_id: UUID) -> User:
    """Let somebody in again, with the sessions and keys that they had."""
    with transaction.atomic():
        user = user_taken(operator=operator, user_id=user_id)
        if not user.is_active:
            _set_active(operator, user, active=True)
    return user


def user_password_hand_out(*, operator: Operator, user_id: UUID) -> tuple[User, str]:
    """A one-time password, to be shown once: the old one is dead, and with it every browser session."""
    password = one_time_password()
    with transaction.atomic():
        user = user_taken(operator=operator, user_id=user_id)
        user.set_password(password)
        user.password_is_one_time = True
        user.save(update_fields=["password", "password_is_one_time"])
        told(operator=operator, user=user, action="user.password_changed", facts={"one_time": True})
    return user, password


def user_taken(*, operator: Operator, user_id: UUID) -> User:
    """Somebody to whom an operator is about to do something, locked with all active operators in one order.

    Raises ``oneself``, or ``last_operator`` where no other would be left; ``operator_only`` where they may do
    more than the operator; ``suspended_meanwhile`` where the operator is none any more.
    """
    wanted = User.objects.filter(Q(pk=user_id) | Q(is_staff=True, is_active=True))
    rows = {row.pk: row for row in wanted.order_by("pk").select_for_update(no_key=True)}
    if user_id not in rows:
        raise not_found("user")
    user = rows[user_id]
    if user.pk == operator.user.pk:
        raise last_operator() if is_last_operator(user) else _oneself()
    acting = rows.get(operator.user.pk)
    if acting is None:
        raise stood_down()
    if user.is_superuser and not acting.is_superuser:
        raise operator_only("This user may do more than you: ask an operator who may do as much.")
    return user


def is_last_operator(user: User) -> bool:
    """Whether no other active user may do all that an operator may."""
    able = User.objects.filter(is_active=True, is_staff=True, is_superuser=True)
    return not able.exclude(pk=user.pk).exists()


def last_operator() -> SomaError:
    sentence = "No other operator would be left: make somebody else one first."
    return SomaError(Kind.CONFLICT, "last_operator", sentence)


def told(*, operator: Operator, user: User, action: str, facts: Mapping[str, Any] | None = None) -> None:
    audit_of_user(user=user, by=operator.who, action=action, facts={**(facts or {}), "as_operator": True})


def _oneself() -> SomaError:
    sentence = "This is you: have another operator do it, or use the pages of your own account."
    return SomaError(Kind.CONFLICT, "oneself", sentence)


def _set_active(operator: Operator, user: User, *, active: bool) -> None:
    user.is_active = active
    # Its receiver (``receivers``) has every process look at the streams that are open.
    user.save(update_fields=["is_active"])
    what = "resumed" if active else "suspended"
    told(operator=operator, user=user, action=f"user.{what}")
