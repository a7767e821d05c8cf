"""Who a credential stands for, for HTTP requests and WebSocket connections alike."""

from __future__ import annotations

from typing import Any

from channels.auth import get_user

from somaagent.tenancy import selectors
from somaagent.tenancy.actor import Actor

BEARER = "bearer "


async def actor_of_header(authorization: str) -> Actor | None:
    """The actor of an ``Authorization`` header; None where it carries no good bearer key."""
    if not authorization.lower().startswith(BEARER):
        return None
    key = authorization[len(BEARER) :].strip()
    return await selectors.actor_by_api_key_async(key) if key else None


async def actor_of_scope(scope: dict[str, Any]) -> Actor | None:
    """The actor of a WebSocket connection: of its bearer key alone where it sends one, else of its cookie."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            return await actor_of_header(value.decode("latin-1"))
    user = await get_user(scope)
    if not user.is_authenticated or user.password_is_one_time:
        return None
    return await selectors.actor_by_user_async(user.pk)
