"""What managers see of their MCP servers, and a look at one of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from somaagent.errors import SomaError, not_found
from somaagent.resilience.operators import breaker_close, breaker_states
from somaagent.tenancy.audit.entries import Who, audit_entry_create
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import in_tenant

from . import lists, state
from .models import McpServer, McpToken
from .servers import Server, of_program, of_row
from .state import Known

if TYPE_CHECKING:
    from django.db.models import QuerySet

PROGRAM = "stdio:"


@dataclass(frozen=True, slots=True)
class Overseen:
    """A server, and what all processes know of it. ``row`` is None for a program of the operator's.

    ``failure`` is what a look at it ran into just now; else ``known`` tells of the last one.
    """

    server: Server
    row: McpServer | None
    known: Known
    breaker: str
    failure: SomaError | None = None

    @property
    def is_enabled(self) -> bool:
        return self.row is None or self.row.enabled


def server_rows() -> QuerySet[McpServer]:
    """The tenant's servers that are reached by HTTP, disabled ones too."""
    return McpServer.objects.order_by("-id")


def programs(*, tenant_id: UUID) -> list[Server]:
    """The operator's programs that the tenant has, by slug; not those whose slug an enabled server has."""
    tenant = Tenant.objects.get(id=tenant_id)
    taken = set(McpServer.objects.filter(enabled=True).values_list("slug", flat=True))
    found = [
        program
        for program in settings.MCP_STDIO_SERVERS
        if program.slug not in taken and (not program.tenants or tenant.slug in program.tenants)
    ]
    return [of_program(tenant_id, program) for program in sorted(found, key=lambda each: each.slug)]


def overseen(rows: Sequence[McpServer], programs: Sequence[Server] = ()) -> list[Overseen]:
    """These servers, asked of Valkey all at once. Raises ``valkey.ERRORS``."""
    servers = [*((of_row(row), row) for row in rows), *((program, None) for program in programs)]
    knowns = state.known_blocking([server for server, _ in servers])
    breakers = breaker_states([server.breaker for server, _ in servers])
    return [
        Overseen(server, row, known, breakers[server.breaker].value)
        for (server, row), known in zip(servers, knowns, strict=True)
    ]


def server_overseen(*, tenant_id: UUID, server_id: str) -> Overseen:
    """A server, by its row's id or ``stdio:`` and its slug. Raises ``not_found`` and ``valkey.ERRORS``."""
    if server_id.startswith(PROGRAM):
        found = overseen([], [each for each in programs(tenant_id=tenant_id) if each.id == server_id])
    else:
        found = overseen(list(server_rows().filter(id=_id_of(server_id))))
    if not found:
        raise not_found("MCP server")
    return found[0]


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise not_found("MCP server") from error


def token_of(row: McpServer | None) -> McpToken | None:
    """The state of what an authorization server gave for it, if it wants OAuth."""
    return McpToken.objects.filter(server=row).first() if row is not None and row.uses_oauth else None


async def check(*, tenant_id: UUID, server_id: str, by: Who) -> Overseen:
    """Close its breaker and have its list of tools read now. What it fails with is in the answer.

    Raises ``not_found`` and ``valkey.ERRORS``. It takes three times the server's ``connect_seconds`` at most.
    """
    known = await in_tenant(tenant_id, server_overseen, tenant_id=tenant_id, server_id=server_id)
    await asyncio.to_thread(breaker_close, known.server.breaker)
    failure = None
    try:
        # The one that is under way, where one is; and it goes on where the caller goes away.
        await asyncio.shield(lists.begin(known.server).task)
    except SomaError as error:
        failure = error
    return await in_tenant(tenant_id, _checked, tenant_id, server_id, by, failure)


def _checked(tenant_id: UUID, server_id: str, by: Who, failure: SomaError | None) -> Overseen:
    found = server_overseen(tenant_id=tenant_id, server_id=server_id)
    audit_entry_create(
        by=by,
        action="mcp_server.checked",
        target_type="mcp_server",
        target_id=server_id,
        facts={"slug": found.server.slug, "error": failure.code if failure else ""},
    )
    return replace(found, failure=failure)
