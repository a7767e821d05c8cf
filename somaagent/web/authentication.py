"""Who a credential stands for, for HTTP requests and WebSocket connections alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels.auth import get_user
from django.http import HttpRequest

from somaagent.tenancy import proofs, selectors
from somaagent.tenancy.actor import Actor

if TYPE_CHECKING:
    from uuid import UUID

    from django.contrib.auth.models import AnonymousUser

    from somaagent.tenancy.models import User

BEARER = "bearer "
# In a browser's session: whoever signed in has to set a second factor up before anything else.
SECOND_FACTOR_MISSING = "second_factor_missing"


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
    user_id = _acting(request.user, request.session)
    return selectors.actor_by_user(user_id) if user_id else None


async def actor_of_scope(scope: dict[str, Any]) -> Actor | None:
    """The actor of a WebSocket connection: of its bearer key alone where it sends one, else of its cookie."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            return await actor_of_header_async(value.decode("latin-1"))
    user_id = _acting(await get_user(scope), scope["session"])
    return await selectors.actor_by_user_async(user_id) if user_id else None


def _acting(user: User | AnonymousUser, session: Any) -> UUID | None:
    """The id of a user who may act: with a one-time password they can do one thing, choose another; without
    the second factor that they have to have, set one up.
    """
    if not user.is_authenticated or user.password_is_one_time or session.get(SECOND_FACTOR_MISSING):
        return None
    return user.pk


def _key_in(authorization: str) -> str:
    return authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
