"""What a request of ours carries besides Django's own."""

from __future__ import annotations

from django.http import HttpRequest

from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor


class Request(HttpRequest):
    """A request after ``middleware.request_context``: its id, and who asks if the credential is good.

    ``place_lost``: who asks is signed in, and may not work any more in the organisation that they chose.
    """

    request_id: str
    actor: Actor | None
    bearer_refused: bool
    place_lost: bool


def actor_of(request: HttpRequest) -> Actor:
    """Who asks. Raises ``unauthenticated`` where nobody has shown a good credential."""
    actor: Actor | None = getattr(request, "actor", None)
    if actor is not None:
        return actor
    if getattr(request, "place_lost", False):
        raise SomaError(
            Kind.FORBIDDEN,
            "organisation_lost",
            "You do not belong to the organisation any more that you worked in, or it is suspended: "
            "reload the page.",
        )
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
