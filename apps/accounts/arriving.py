"""Whom an identity provider sends, and as what they are let in: tenant, role, and whose account it is.

A provider is believed about its own people. It is not believed about those of others: an account that exists
already becomes theirs only where both sides have verified the e-mail address, and where nothing but the
provider's own tenant is reached by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db.models import Q

from somaagent.errors import Kind, SomaError
from somaagent.tenancy import arrivals
from somaagent.tenancy.models import Role, User

# The first that a person has counts.
_HIGHEST_FIRST = (Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where somebody belongs. ``follows``: their role is that of their groups, also from now on.

    ``email`` is verified by the provider; None where it says nothing of the kind.
    """

    tenant_id: UUID
    role: Role
    follows: bool
    email: str | None


def arrival_of(provider: Any, claims: Mapping[str, Any]) -> Arrival:
    """What a declared provider's (``settings.OIDC_PROVIDERS``) claims make of a person.

    Raises ``forbidden`` in words.
    """
    email = verified_email(claims)
    tenant = arrivals.live_tenant_by_slug(_slug(provider, email))
    if tenant is None:
        raise refused(
            "tenant_unavailable",
            f"The organisation that {provider.name} sends you to is not there, or is suspended. "
            "Ask the operator of this SomaAgent.",
        )
    return Arrival(tenant.id, _role(provider, claims), bool(provider.roles), email)


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """In small letters. ``"true"`` as a text is not true: the specification says boolean (OIDC Core, 5.1)."""
    email = claims.get("email")
    return email.lower() if isinstance(email, str) and claims.get("email_verified") is True else None


def account_of(email: str | None, claimed: str | None, arrival: Arrival) -> User | None:
    """The account that exists for an address and may become this person's; None where there is none.

    ``claimed`` is the address whether verified or not. Raises ``forbidden`` where it is another's. Who made
    themselves an account elsewhere and only said that the address is theirs is in nobody's way.
    """
    if not claimed:
        return None
    owners = _owners(claimed, arrival)
    if not owners:
        return None
    (first, *others) = owners
    if email and not others and _may_merge(first, email, arrival):
        return first
    raise refused(
        "email_taken",
        "An account with your e-mail address exists already, and it cannot be made yours: that takes an "
        "address that both sides have verified, and an account of this organisation alone. "
        "Sign in with its password, or ask the operator of this SomaAgent.",
    )


def claim(user: User, email: str) -> None:
    """Keep what somebody says is their address: not verified, and not their primary one, which tells it."""
    EmailAddress.objects.create(user=user, email=email.lower(), verified=False, primary=False)


def _owners(email: str, arrival: Arrival) -> list[User]:
    """Whose address it is, as far as is known here: who only said so elsewhere is left out."""
    known = User.objects.filter(Q(email__iexact=email) | Q(emailaddress__email__iexact=email)).distinct()
    said = EmailAddress.objects.filter(email__iexact=email, verified=False, primary=False).values("user")
    colleagues = (
        user
        for user in known.filter(pk__in=said)
        if arrival.tenant_id in arrivals.tenant_ids_of(user_id=user.pk)
    )
    return [*known.exclude(pk__in=said)[:2], *colleagues]


def _may_merge(user: User, email: str, arrival: Arrival) -> bool:
    verified = EmailAddress.objects.filter(user=user, email__iexact=email, verified=True).exists()
    operator = user.is_staff or user.is_superuser
    return verified and not operator and arrivals.tenant_ids_of(user_id=user.pk) == [arrival.tenant_id]


def refused(code: str, sentence: str) -> SomaError:
    return SomaError(Kind.FORBIDDEN, code, sentence)


def _slug(provider: Any, email: str | None) -> str:
    if provider.tenant:
        return str(provider.tenant)
    if email is None:
        raise refused(
            "email_unverified",
            f"{provider.name} does not say that your e-mail address is verified. "
            "Verify it there, then come back.",
        )
    domain = email.rpartition("@")[2]
    if domain not in provider.domains:
        raise refused(
            "domain_unknown",
            f"No organisation here has the e-mail domain {domain}. Ask the operator of this SomaAgent.",
        )
    return str(provider.domains[domain])


def _role(provider: Any, claims: Mapping[str, Any]) -> Role:
    groups = claims.get(provider.groups_claim) or []
    named = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    given = {provider.roles[group] for group in named if isinstance(group, str) and group in provider.roles}
    for role in _HIGHEST_FIRST:
        if role.value in given:
            return role
    if provider.role is None:
        raise refused(
            "no_group",
            f"{provider.name} has you in none of the groups that may use this SomaAgent. "
            "Ask who manages them.",
        )
    return Role(provider.role)
