"""Writes on MCP servers. All run inside the tenant's scope."""

from __future__ import annotations

from typing import Any

from . import keys
from .models import Authentication, McpServer, McpToken

_OF_TOKENS = frozenset(
    {"authentication", "token_url", "client_id", "scope", "encrypted_secret", "secret_name"}
)


def mcp_token_put(*, server: McpServer, refresh_token: str) -> McpToken:
    """The refresh token that an operator entered. Raises ``settings.SECRETS.Error``; may ask Vault."""
    token, _ = McpToken.objects.get_or_create(tenant_id=server.tenant_id, server=server)
    sealed = keys.sealed(
        refresh_token, tenant_id=server.tenant_id, purpose=keys.REFRESH_TOKEN, row_id=token.pk
    )
    _begin_anew(server, encrypted_refresh=sealed)
    token.refresh_from_db()
    return token


def mcp_server_changed(*, server: McpServer, fields: frozenset[str]) -> None:
    """After a change of its row: what another access was given is not sent any more."""
    if fields & _OF_TOKENS:
        facts = {} if server.authentication == Authentication.REFRESH_TOKEN else {"encrypted_refresh": ""}
        _begin_anew(server, **facts)


def _begin_anew(server: McpServer, **facts: Any) -> None:
    """The version counts on, so that a refresh under way does not write over it."""
    for token in McpToken.objects.select_for_update().filter(server=server):
        nothing = {"encrypted_access": "", "expires_at": None, "refreshing_until": None, "failed_at": None}
        changes = {**nothing, "error": "", "version": token.version + 1, **facts}
        McpToken.objects.filter(pk=token.pk).update(**changes)
