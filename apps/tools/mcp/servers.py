"""Which MCP servers a tenant has: rows of its own, and programs that the operator declared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from apps.tools.tool import Risk
from somaagent.tenancy.scripts import Row, Script, Statement, look

if TYPE_CHECKING:
    from .models import McpServer

STDIO_CONNECT_SECONDS = 20.0
STDIO_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Access:
    """How a server that is reached by HTTP knows who asks: the columns of ``McpServer``, sealed still."""

    url: str
    authentication: str
    key_header: str = "Authorization"
    secret_name: str = ""
    encrypted_secret: str = field(default="", repr=False)
    token_url: str = ""
    client_id: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """One server as one tenant has it. ``id`` is its row's, or ``stdio:`` and a program's slug.

    ``program`` is the operator's declaration (``settings.MCP_STDIO_SERVERS``); else ``access`` says where it
    is. ``revision`` differs when anything does that a session or a list depends on.
    """

    tenant_id: UUID
    id: str
    slug: str
    name: str
    needs_approval: bool
    risk: Risk
    trusts_annotations: bool
    connect_seconds: float
    call_seconds: float
    most_tools: int
    most_characters: int
    access: Access | None = None
    program: Any = None

    @property
    def key(self) -> str:
        """Made of ids: breakers, health and Valkey's keys are named by it."""
        return f"{self.tenant_id}:{self.id}"

    @property
    def breaker(self) -> str:
        return f"mcp:{self.key}"

    @property
    def source(self) -> str:
        return f"mcp:{self.slug}"

    @property
    def revision(self) -> str:
        facts = (self.slug, self.most_tools, repr(self.program), repr(self.access), _sealed(self.access))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _sealed(access: Access | None) -> str:
    return access.encrypted_secret if access else ""


_COLUMNS = (
    "id", "slug", "name", "needs_approval", "risk", "trusts_annotations", "connect_seconds", "call_seconds",
    "most_tools", "most_characters", "url", "authentication", "key_header", "secret_name", "encrypted_secret",
    "token_url", "client_id", "scope",
)  # fmt: skip
_ROWS = f"SELECT {', '.join(_COLUMNS)} FROM tools_mcpserver WHERE enabled ORDER BY slug"  # noqa: S608  names of ours
_TENANT = "SELECT slug FROM tenancy_tenant WHERE id = %(tenant)s"


async def servers_of(tenant_id: UUID) -> list[Server]:
    """The enabled ones, by slug. A program whose slug a row of the tenant has too is left out."""
    programs: Sequence[Any] = settings.MCP_STDIO_SERVERS
    rows, named = await look(tenant_id, _rows(tenant_id))
    found = {}
    for row in rows:
        facts = dict(zip(_COLUMNS, row, strict=True))
        found[facts["slug"]] = _of_facts(tenant_id, facts)
    for program in programs:
        if named and (not program.tenants or named[0][0] in program.tenants):
            found.setdefault(program.slug, of_program(tenant_id, program))
    return [found[slug] for slug in sorted(found)]


def _rows(tenant_id: UUID) -> Script[tuple[list[Row], list[Row]]]:
    """The rows of the enabled servers, and the tenant's slug, where it is one."""
    rows, named = yield [Statement(_ROWS, {}), Statement(_TENANT, {"tenant": tenant_id})]
    return rows, named


def of_row(row: McpServer) -> Server:
    """For what begins with a row: the admin."""
    return _of_facts(row.tenant_id, {name: getattr(row, name) for name in _COLUMNS})


def of_program(tenant_id: UUID, program: Any) -> Server:
    return Server(
        tenant_id=tenant_id,
        id=f"stdio:{program.slug}",
        slug=program.slug,
        name=program.slug,
        needs_approval=program.needs_approval,
        risk=Risk(program.risk),
        trusts_annotations=program.trusts_annotations,
        connect_seconds=STDIO_CONNECT_SECONDS,
        call_seconds=program.call_seconds,
        most_tools=program.most_tools,
        most_characters=STDIO_MOST_CHARACTERS,
        program=program,
    )


def _of_facts(tenant_id: UUID, facts: dict[str, Any]) -> Server:
    of_access = {
        name: facts.pop(name)
        for name in (
            "url", "authentication", "key_header", "secret_name", "encrypted_secret", "token_url",
            "client_id", "scope",
        )
    }  # fmt: skip
    # As text: a row that was just made holds a choice, not its value.
    of_access = {name: str(value) for name, value in of_access.items()}
    taken = facts | {"id": str(facts["id"]), "risk": Risk(facts["risk"])}
    return Server(tenant_id=tenant_id, access=Access(**of_access), **taken)
