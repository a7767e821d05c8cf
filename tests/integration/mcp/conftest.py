"""A town of MCP servers, a network that the operator allows, and an organisation that uses them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any, TypeVar

import pytest

from apps.tools.mcp import keys, lists, sessions
from apps.tools.mcp.models import McpServer
from apps.tools.mcp.tools import mcp_tools
from apps.tools.tool import Caller, Tool
from somaagent.background import run_coroutine
from somaagent.embedded.addresses import loopback
from somaagent.errors import SomaError
from somaagent.outbound import client
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scope import tenant_scope
from tests import mcp_town as town_of
from tests.factories import Organisation, organisation
from tests.mcp_town import KEY, OBJECT, Guarded, Raw, Town, running

T = TypeVar("T")
WELL = 7


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    town = Town()
    for number in range(1, WELL + 1):
        town.build(f"well-{number}", town_of.well(f"well-{number}"))
    town.build("hangs", Raw(town_of.hangs))
    town.build("fails", Raw(town_of.fails))
    town.build("babbles", Raw(town_of.babbles))
    town.build("floods", Raw(town_of.floods))
    town.build("astray", Raw(town_of.leads_astray))
    town.build("packs", Raw(town_of.packs))
    town.build("pages", town_of.paging())
    town.build("no-list", Raw(town_of.lies_about_lists({"tools": "none of your business"})))
    listed = {"tools": [{"name": "well", "inputSchema": []}]}
    town.build("no-schema", Raw(town_of.lies_about_lists(listed)))
    town.build(
        "keyed", Guarded(town_of.well("keyed"), lambda r: r.headers.get("authorization") == f"Bearer {KEY}")
    )
    town.build("headed", Guarded(town_of.well("headed"), lambda r: r.headers.get("x-api-key") == KEY))
    town.build("oauth", Guarded(town_of.well("oauth"), town.authority.knows))
    town.build("liar", town_of.telling(*LIES))
    with running(town):
        yield town


def bomb(levels: int) -> dict[str, Any]:
    """Each level refers to the next one twice: 2 ** levels to check."""
    steps = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(levels)
    }
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a0"}},
        "$defs": steps | {f"a{levels}": {}},
    }


LIES: list[dict[str, Any]] = [
    {"name": "good", "input_schema": OBJECT, "description": "Good\u202e\u200b.\x00 " + "long " * 1000},
    {"name": "twice", "input_schema": OBJECT},
    {"name": "twice", "input_schema": OBJECT | {"description": "the other one"}},
    {"name": "wrong", "input_schema": {"type": "object", "properties": {"a": {"type": "objekt"}}}},
    {"name": "elsewhere", "input_schema": OBJECT | {"$ref": "#/$defs/gone"}},
    {"name": "remote", "input_schema": OBJECT | {"properties": {"a": {"$ref": "http://evil.example.org/s"}}}},
    {"name": "moved", "input_schema": OBJECT | {"properties": {"a": {"$id": "http://evil.example.org/"}}}},
    {"name": "bomb", "input_schema": bomb(40)},
    {"name": "large", "input_schema": OBJECT | {"description": "x" * 40_000}},
    {
        "name": "regex",
        "input_schema": OBJECT | {"properties": {"a": {"type": "string", "pattern": "^(?=(a+)+$)"}}},
    },
    {
        "name": "tree",
        "input_schema": OBJECT
        | {
            "properties": {
                "child": {"$ref": "#"},
                "leaf": {"$ref": "#/$defs/leaf", "description": "A leaf."},
            },
            "$defs": {"leaf": {"type": "string"}},
        },
    },
    {"name": "line\nbreak", "input_schema": OBJECT},
    {"name": "p\u0443thon", "input_schema": OBJECT},
    {"name": "", "input_schema": OBJECT},
    {"name": "n" * 100, "input_schema": OBJECT},
    {"name": "n" * 200, "input_schema": OBJECT},
    {"name": "with.dot", "input_schema": OBJECT},
    {"name": "python", "input_schema": OBJECT},
]


@pytest.fixture(autouse=True)
def _house(settings) -> Iterator[None]:
    """Our own network, as an operator with servers of their own would allow it; and nothing is left open."""
    settings.OUTBOUND_ALLOWED_NETWORKS = [ip_network(f"{loopback()}/8", strict=False)]
    run_coroutine(_fresh())
    yield
    run_coroutine(_fresh())


async def _fresh() -> None:
    """Nobody reads, no session is open, and the guarded client is made of the settings as they are now."""
    await lists.idle()
    await sessions.close()
    await client._clients.close()


def start_afresh() -> None:
    run_coroutine(_fresh())


@pytest.fixture
def acme(transactional_db) -> Organisation:
    return organisation("acme")


class Story:
    """What an operator sets up and what turns do, in one event loop as in a gateway."""

    def __init__(self, actor: Actor, town: Town) -> None:
        self.actor, self.town = actor, town

    def add(self, house: str, *, secret: str = "", **facts: Any) -> McpServer:
        given = {"slug": house, "name": house, "url": self.town.url(house), "connect_seconds": 1.0} | facts
        row = McpServer(tenant_id=self.actor.tenant_id, **given)
        if secret:
            row.encrypted_secret = keys.sealed(
                secret, tenant_id=row.tenant_id, purpose=keys.SERVER_SECRET, row_id=row.pk
            )
        with tenant_scope(self.actor.tenant_id):
            row.save()
        return row

    def tools(self) -> Mapping[str, Tool]:
        return run_coroutine(mcp_tools(self.actor.tenant_id))

    def call(self, name: str, /, **arguments: Any) -> str:
        return self.run(self.tools()[name], **arguments)

    def run(self, tool: Tool, /, **arguments: Any) -> str:
        caller = Caller(self.actor.tenant_id, self.actor.user_id, self.actor.role)
        return run_coroutine(_awaited(tool.run(caller, arguments)))

    def refused(self, name: str, /, **arguments: Any) -> SomaError:
        with pytest.raises(SomaError) as error:
            self.call(name, **arguments)
        return error.value

    def lists_are_read(self) -> None:
        run_coroutine(lists.idle())


async def _awaited(result: Awaitable[T]) -> T:
    return await result


@pytest.fixture
def story(acme: Organisation, town: Town) -> Story:
    return Story(acme.owner, town)
