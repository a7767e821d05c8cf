"""Who a credential stands for, for HTTP requests and WebSocket connections alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels.auth import get_user
from django.conf import settings
from django.http import HttpRequest

from somaagent.tenancy import proofs, selectors
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.chosen import chosen_of
from somaagent.tenancy.models import Role

if TYPE_CHECKING:
    from uuid import UUID

    from django.contrib.auth.models import AnonymousUser

    from somaagent.tenancy.models import User

BEARER = "bearer "
# In a browser's session: whoever signed in has to set a second factor up before anything else.
SECOND_FACTOR_MISSING = "second_factor_missing"
# django-allauth's, in a browser's session: what they have shown, the first thing first.
_SHOWN = "account_authentication_methods"


def has_bearer(request: HttpRequest) -> bool:
    """Whether the request brings a bearer key, good or bad: it decides alone, whatever cookie comes along."""
    return bool(_key_in(request.META.get("HTTP_AUTHORIZATION", "")))


def actor_of_header(authorization: str) -> Actor | None:
    """The actor of an ``Authorization`` header; None where it carries no good bearer key."""
    key = _key_in(authorization)
    return selectors.actor_by_api_key(key) if key else None


async def actor_of_header_async(authorization: str) -> Actor | None:
    """The same for coroutines."""
    key = _key_in(authorization)
    actor = await selectors.actor_by_api_key_async(key) if key else None
    if actor is not None:
        proofs.remember(key, actor)
    return actor


def expected_of_header(authorization: str) -> Actor | None:
    """Whose the header's key was the last time, with a proof that is still to be held."""
    key = _key_in(authorization)
    return proofs.expected(key) if key else None


def actor_of_session(request: HttpRequest) -> Actor | None:
    """The actor of the browser's session. For threads: it reads the session and its user as Django does."""
    session = request.session
    user_id = _acting(request.user, session)
    if user_id is None:
        return None
    found = selectors.signed_in(user_id, chosen_of(session), session.session_key)
    return _let_in(request.user, session, found)


async def actor_of_scope(scope: dict[str, Any]) -> Actor | None:
    """The actor of a WebSocket connection: of its bearer key alone where it sends one, else of its cookie."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            return await actor_of_header_async(value.decode("latin-1"))
    user, session = await get_user(scope), scope["session"]
    user_id = _acting(user, session)
    if user_id is None:
        return None
    found = await selectors.signed_in_async(user_id, chosen_of(session), session.session_key)
    return _let_in(user, session, found)


def has_lost_its_place(request: HttpRequest) -> bool:
    """Whether somebody is signed in who may not work where they chose to any more."""
    user = request.user
    return _acting(user, request.session) is not None and chosen_of(request.session) is not None


def came_from_provider(session: Any) -> bool:
    """Whether the first thing that was shown in a browser's session was an identity provider's word."""
    shown = session.get(_SHOWN) or [{}]
    return bool(shown[0].get("method") == "socialaccount")


def has_to_have_second_factor(*, is_staff: bool, is_owner: bool) -> bool:
    """Whom ``SA01_MFA_REQUIRED`` is about."""
    wanted = settings.MFA_REQUIRED
    if wanted in {"everybody", "nobody"}:
        return bool(wanted == "everybody")
    return is_staff or (is_owner and wanted == "owners")


def _acting(user: User | AnonymousUser, session: Any) -> UUID | None:
    """The id of a user who may act: with a one-time password they can do one thing, choose another; without
    the second factor that they have to have, set one up.
    """
    if not user.is_authenticated or user.password_is_one_time or session.get(SECOND_FACTOR_MISSING):
        return None
    return user.pk


def _let_in(user: Any, session: Any, found: selectors.SignedIn | None) -> Actor | None:
    """The actor, unless they lack a second factor that they have to have by now. The session remembers that.

    Who came from an identity provider has shown there what it asks for.
    """
    if found is None:
        return None
    has_to = has_to_have_second_factor(is_staff=user.is_staff, is_owner=found.actor.role == Role.OWNER)
    if has_to and not found.has_second_factor and not came_from_provider(session):
        session[SECOND_FACTOR_MISSING] = True
        return None
    return found.actor


def _key_in(authorization: str) -> str:
    return authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
