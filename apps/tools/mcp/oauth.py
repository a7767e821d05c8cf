"""Access tokens (RFC 6749, 4.4 and 6), kept sealed in the database and refreshed by one process at a time.

A refresh token may be good for one use (OAuth 2.1, 4.3.1): two that refresh at once would lose both. So who
refreshes takes the row by a conditional UPDATE, as turns are taken, for longer than the request can last. The
others wait for what comes of it; no connection to the database is held meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.utils import timezone

from somaagent.errors import SomaError
from somaagent.observability import metrics
from somaagent.outbound.client import Answer, outbound
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.pool import tenant_transaction

from . import failures, keys
from .models import Authentication
from .servers import Access, Server

ASK_SECONDS = 10.0
LEASE = timedelta(seconds=20)
WAIT_SECONDS = 25.0
# So much before its end a token is not sent any more, or half of its life before, where that is less.
MARGIN_SECONDS = 30.0
_POLL_SECONDS = 0.1
_MOST_BYTES = 65_536
_OK = 200
_REFUSED = frozenset({400, 401, 403})

logger = structlog.get_logger(__name__)

_ROW = """
SELECT id, encrypted_access, encrypted_refresh, expires_at, version, failed_at, error
FROM tools_mcptoken WHERE server_id = %(server)s
"""
_MAKE = """
INSERT INTO tools_mcptoken
    (id, created_at, tenant_id, server_id, encrypted_access, encrypted_refresh, version, error)
VALUES (%(id)s, now(), %(tenant)s, %(server)s, '', '', 0, '')
ON CONFLICT (server_id) DO NOTHING
"""
_CLAIM = """
UPDATE tools_mcptoken SET refreshing_until = now() + %(lease)s
WHERE server_id = %(server)s AND version = %(version)s
    AND (refreshing_until IS NULL OR refreshing_until < now())
RETURNING id
"""
_KEEP = """
UPDATE tools_mcptoken SET encrypted_access = %(access)s, encrypted_refresh = %(refresh)s,
    expires_at = %(expires)s, version = version + 1, refreshing_until = NULL, failed_at = NULL, error = ''
WHERE server_id = %(server)s AND version = %(version)s
"""
_FAIL = """
UPDATE tools_mcptoken SET refreshing_until = NULL, failed_at = now(), error = %(error)s
WHERE server_id = %(server)s AND version = %(version)s
"""


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    encrypted_access: str
    encrypted_refresh: str
    expires_at: datetime | None
    version: int
    failed_at: datetime | None
    error: str

    def is_good(self) -> bool:
        return bool(self.encrypted_access) and (self.expires_at is None or self.expires_at > timezone.now())


@dataclass(frozen=True, slots=True)
class Token:
    """``version``: which of the server's tokens it is."""

    text: str
    version: int


class Tokens:
    """The access tokens of one server."""

    def __init__(self, server: Server) -> None:
        if server.access is None:
            raise ValueError("A program has no tokens.")
        self._server, self._access = server, server.access
        self._facts: dict[str, Any] = {"server": UUID(server.id), "tenant": server.tenant_id}

    async def current(self, *, refused: Token | None = None) -> Token:
        """A token that is good as far as is known, and not the one that was ``refused``.

        Raises ``mcp_token_refused``, ``mcp_unreachable``, ``mcp_timeout`` or ``mcp_secret_missing``.
        """
        begun, until = timezone.now(), time.monotonic() + WAIT_SECONDS
        while True:
            row = await self._row()
            if row.is_good() and (refused is None or row.version != refused.version):
                return await self._opened(row)
            if row.failed_at is not None and row.failed_at > begun:
                raise self._refused(row.error)  # another one tried, while we waited
            if await self._claimed(row.version):
                return await self._refresh(row)
            if time.monotonic() > until:
                raise failures.timed_out(self._server.slug, WAIT_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    async def _row(self) -> _Row:
        async with tenant_transaction(self._server.tenant_id) as connection:
            found = await (await connection.execute(_ROW, self._facts)).fetchone()
            if found is None:
                await connection.execute(_MAKE, self._facts | {"id": uuid7()})
                found = await (await connection.execute(_ROW, self._facts)).fetchone()
        if found is None:
            raise self._refused("server_gone")
        return _Row(*found)

    async def _claimed(self, version: int) -> bool:
        facts = self._facts | {"version": version, "lease": LEASE}
        async with tenant_transaction(self._server.tenant_id) as connection:
            return await (await connection.execute(_CLAIM, facts)).fetchone() is not None

    async def _refresh(self, row: _Row) -> Token:
        """The lease is ours. Whatever comes of it is told to those who wait."""
        facts = self._facts | {"version": row.version}
        try:
            given = await self._ask(row)
            token = str(given["access_token"])
            kept = await asyncio.to_thread(self._sealed, row, given)
        except BaseException as error:
            code = error.code if isinstance(error, SomaError) else "interrupted"
            metrics.MCP_TOKENS.labels(outcome="failed").inc()
            logger.warning("mcp.token_not_refreshed", server_id=self._server.id, error=code)
            await asyncio.shield(self._write(_FAIL, facts | {"error": code[:64]}))
            raise
        await asyncio.shield(self._write(_KEEP, facts | kept))
        metrics.MCP_TOKENS.labels(outcome="refreshed").inc()
        logger.info("mcp.token_refreshed", server_id=self._server.id)
        return Token(token, row.version + 1)

    async def _write(self, statement: str, facts: dict[str, Any]) -> None:
        async with tenant_transaction(self._server.tenant_id) as connection:
            await connection.execute(statement, facts)

    async def _ask(self, row: _Row) -> dict[str, Any]:
        form = {"grant_type": self._access.authentication, "resource": self._access.url}  # RFC 8707
        if self._access.authentication == Authentication.REFRESH_TOKEN:
            if not row.encrypted_refresh:
                raise self._refused("no_refresh_token")
            form["refresh_token"] = await self._open(row, row.encrypted_refresh, keys.REFRESH_TOKEN)
        if self._access.scope:
            form["scope"] = self._access.scope
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = await secret_of(self._server, self._access)
        if secret:
            # RFC 6749, 2.3.1: both are written as in a form before they are joined.
            pair = f"{quote(self._access.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = self._access.client_id
        try:
            answer = await outbound().fetch(
                "POST",
                self._access.token_url,
                headers=headers,
                body=urlencode(form).encode(),
                seconds=ASK_SECONDS,
                most_bytes=_MOST_BYTES,
            )
        except SomaError as error:
            raise failures.of_host(self._server.slug, error) from error
        return self._given(answer)

    def _given(self, answer: Answer) -> dict[str, Any]:
        if answer.status in _REFUSED:
            raise self._refused(f"status_{answer.status}")
        try:
            given = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            given = None
        if answer.status != _OK or not isinstance(given, dict) or not _is_token(given.get("access_token")):
            message = f"The authorization server of {self._server.slug} gave no token."
            raise failures.failed("mcp_unreachable", message)
        return given

    def _sealed(self, row: _Row, given: dict[str, Any]) -> dict[str, Any]:
        """May ask Vault."""
        whose = {"tenant_id": self._server.tenant_id, "row_id": row.id}
        refresh: Any = given.get("refresh_token")
        seconds: Any = given.get("expires_in")
        expires = None
        if _is_seconds(seconds):
            expires = timezone.now() + timedelta(seconds=max(seconds - MARGIN_SECONDS, seconds / 2))
        try:
            access = keys.sealed(given["access_token"], purpose=keys.ACCESS_TOKEN, **whose)
            if _is_token(refresh):
                again = keys.sealed(refresh, purpose=keys.REFRESH_TOKEN, **whose)
            else:
                again = row.encrypted_refresh
        except settings.SECRETS.Error as error:
            raise _unreadable(self._server.slug, error) from error
        return {"access": access, "refresh": again, "expires": expires}

    async def _opened(self, row: _Row) -> Token:
        return Token(await self._open(row, row.encrypted_access, keys.ACCESS_TOKEN), row.version)

    async def _open(self, row: _Row, sealed: str, purpose: str) -> str:
        try:
            return await asyncio.to_thread(
                keys.opened, sealed, tenant_id=self._server.tenant_id, purpose=purpose, row_id=row.id
            )
        except settings.SECRETS.Error as error:
            raise _unreadable(self._server.slug, error) from error

    def _refused(self, why: str) -> SomaError:
        message = f"The authorization server of {self._server.slug} gives no token ({why})."
        return failures.failed("mcp_token_refused", f"{message} An operator enters its access anew.")


async def secret_of(server: Server, access: Access) -> str | None:
    """The API key or client secret, opened; None where there is none. Raises ``mcp_secret_missing``."""
    try:
        if access.encrypted_secret:
            return await asyncio.to_thread(
                keys.opened,
                access.encrypted_secret,
                tenant_id=server.tenant_id,
                purpose=keys.SERVER_SECRET,
                row_id=UUID(server.id),
            )
        if access.secret_name:
            return await asyncio.to_thread(keys.named, access.secret_name)
    except settings.SECRETS.Error as error:
        raise _unreadable(server.slug, error) from error
    return None


def _unreadable(slug: str, error: Exception) -> SomaError:
    logger.warning("mcp.secret_unreadable", server=slug, reason=str(error))
    return failures.failed(
        "mcp_secret_missing", f"The key of the MCP server {slug} cannot be read. An operator sets it again."
    )


def _is_token(text: object) -> bool:
    # RFC 6749, appendix A.12: visible ASCII. Anything else could not stand in a header.
    return isinstance(text, str) and 0 < len(text) <= _MOST_BYTES and text.isascii() and text.isprintable()


def _is_seconds(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < 10**9
