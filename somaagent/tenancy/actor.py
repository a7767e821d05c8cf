"""The one who asks, as every service receives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from somaagent.errors import Kind, SomaError

if TYPE_CHECKING:
    from .proofs import Proof


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated user in a tenant. Both come from the credential alone, or from the user's schedule.

    ``key_id``: the API key that the credential is, if it is one. ``key_rate`` and ``tenant_rate``: requests
    that the key and the tenant may send in a minute; None: as many as they like. ``proof``: that the key is
    still this actor's, which the transaction that answers has to show. ``session_key``: the browser session
    that the credential is, if it is one.
    """

    tenant_id: UUID
    user_id: UUID
    role: str
    scopes: frozenset[str]
    via: Literal["api_key", "browser", "schedule"]
    key_id: UUID | None = None
    key_rate: int | None = None
    tenant_rate: int | None = None
    proof: Proof | None = field(default=None, compare=False, repr=False)
    session_key: str | None = field(default=None, repr=False)

    def require(self, scope: str) -> None:
        """Raise ``forbidden`` unless the credential carries ``scope``."""
        if scope not in self.scopes:
            raise SomaError(
                Kind.FORBIDDEN,
                "scope_missing",
                f"This credential lacks the scope “{scope}”: use one that has it.",
            )
