"""Secrets of MCP servers at rest: sealed for their row alone, or kept by Vault under a name."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings

SERVER_SECRET = "mcp_server.secret"  # noqa: S105  a purpose, not a secret
ACCESS_TOKEN = "mcp_token.access"  # noqa: S105  as above
REFRESH_TOKEN = "mcp_token.refresh"  # noqa: S105  as above


def sealed(text: str, *, tenant_id: UUID, purpose: str, row_id: UUID) -> str:
    """Raises ``settings.SECRETS.Error``; may ask Vault."""
    token: str = settings.SECRETS.encrypt(text, tenant_id=tenant_id, purpose=purpose, row_id=row_id)
    return token


def opened(token: str, *, tenant_id: UUID, purpose: str, row_id: UUID) -> str:
    """Raises ``settings.SECRETS.Error``; asks Vault about once an hour."""
    text: str = settings.SECRETS.decrypt(token, tenant_id=tenant_id, purpose=purpose, row_id=row_id)
    return text


def named(name: str) -> str:
    """The key that Vault has under ``mcp/NAME``. Raises ``settings.SECRETS.Error``."""
    text: str = settings.SECRETS.read(name, "api_key")
    return text
