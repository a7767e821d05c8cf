"""How operations of the API say who may call them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.utils import check_csrf

from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scope import tenant_scope

from .request import actor_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Credential(HttpBearer):
    """A bearer key, or the browser's session with its CSRF token. Answers with the actor.

    Who asks is known already (``middleware.Authentication``), so nothing is waited for in either lane: where
    a coroutine asks, ninja is given one, lest it goes to a thread.
    """

    def __init__(self) -> None:
        super().__init__()
        # ninja's own judgement is of ``authenticate``, and would have coroutines hop to a thread.
        self.is_async = True

    def __call__(self, request: HttpRequest) -> Any:
        actor = self._admitted(request)
        return actor if asyncio._get_running_loop() is None else _at_once(actor)  # noqa: SLF001 documented, and without an exception where there is none

    def _admitted(self, request: HttpRequest) -> Actor:
        actor = actor_of(request)
        unsafe = request.method not in SAFE_METHODS
        if actor.via == "browser" and unsafe and check_csrf(request) is not None:
            raise SomaError(
                Kind.FORBIDDEN,
                "csrf",
                "The CSRF token is missing or old: reload the page, or use an API key.",
                field="header.X-CSRFToken",
            )
        actor.require(Scope.WRITE if unsafe else Scope.READ)
        return actor

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        return actor_of(request)


async def _at_once(actor: Actor) -> Actor:
    return actor


def in_tenant_of_actor(view: Callable[..., Any]) -> Callable[..., Any]:
    """Run a synchronous operation as one transaction in its actor's tenant; an error rolls it back.

    For ``Router.add_decorator``. Coroutines are left as they are: they open scopes of their own.
    """
    if inspect.iscoroutinefunction(view):
        return view

    @functools.wraps(view)
    def scoped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with tenant_scope(actor_of(request).tenant_id):
            return view(request, *args, **kwargs)

    return scoped
