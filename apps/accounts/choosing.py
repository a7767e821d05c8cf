"""In which organisation somebody works who belongs to several: the choice is in their browser's session.

Whether they still belong there is asked with each request (``somaagent.web.authentication``). Where they do
not, they are told so and choose anew: nobody finds themselves in another organisation unawares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import Who, audit_entry_create
from somaagent.tenancy.chosen import TENANT, chosen_of
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import Belonging, belongings


@dataclass(frozen=True, slots=True)
class Here:
    """The organisation that a page is about, and all that its reader may change to, this one among them."""

    current: Belonging
    places: list[Belonging]

    @property
    def others(self) -> list[Belonging]:
        return [place for place in self.places if place != self.current]


def here(actor: Actor) -> Here | None:
    """None for who was shut out a moment ago."""
    found = belongings(actor.user_id)
    current = next((place for place in found if place.tenant_id == actor.tenant_id), None)
    return Here(current, found) if current else None


def places(request: HttpRequest) -> list[Belonging]:
    return belongings(cast("User", request.user).pk)


def choose(request: HttpRequest, tenant_id: UUID) -> None:
    """From now on they work there. Raises ``not_found`` where they do not belong.

    Pages that are open in other tabs are still about the organisation from before: with another CSRF token
    none of them writes here by mistake.
    """
    user = cast("User", request.user)
    if tenant_id not in {place.tenant_id for place in places(request)}:
        raise not_found("organisation")
    with transaction.atomic(), tenant_scope(tenant_id):
        audit_entry_create(
            by=Who(user.pk, "browser"), action="user.tenant_chosen", target_type="user", target_id=user.pk
        )
    settle(request, tenant_id)
    rotate_token(request)


def settle(request: HttpRequest, tenant_id: UUID) -> None:
    """What a sign-in has led to: they work there."""
    request.session[TENANT] = str(tenant_id)


def keep(request: HttpRequest, actor: Actor) -> None:
    """Whoever has not chosen works where they belong first; once they have seen a page, that is a choice."""
    if chosen_of(request.session) is None:
        settle(request, actor.tenant_id)


def forget(request: HttpRequest) -> str:
    """The name of the organisation that was chosen, which is forgotten; empty where none was."""
    chosen = chosen_of(request.session)
    if chosen is None:
        return ""
    del request.session[TENANT]
    return Tenant.objects.filter(id=chosen).values_list("name", flat=True).first() or "An organisation"
