"""What a request of ours carries besides Django's own."""

from __future__ import annotations

from django.http import HttpRequest

from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor


class Request(HttpRequest):
    """A request after ``middleware.request_context``: its id, and who asks if the credential is good."""

    request_id: str
    actor: Actor | None
    bearer_refused: bool


def actor_of(request: HttpRequest) -> Actor:
    """Who asks. Raises ``unauthenticated`` where nobody has shown a good credential."""
    actor: Actor | None = getattr(request, "actor", None)
    if actor is not None:
        return actor
    if getattr(request, "bearer_refused", False):
        raise SomaError(
            Kind.UNAUTHENTICATED,
            "credential_refused",
            "This API key is unknown, expired or revoked: make a new one.",
            field="header.Authorization",
        )
    raise SomaError(
        Kind.UNAUTHENTICATED,
        "credential_missing",
        "Sign in, or send an API key as “Authorization: Bearer <key>”.",
        field="header.Authorization",
    )
