"""Agents with tools, real ones and those of a story, behind the scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from apps.sessions.models import Agent
from apps.tools import registry
from apps.tools.tool import Arguments, Caller, Label, Risk, Tool
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import Organisation, organisation

ANYTHING = {"type": "object", "properties": {"to": {"type": "string", "maxLength": 40}}, "required": ["to"]}


class Post:
    """Tools of a post office: ``send`` must be approved and must not happen twice, ``look`` is harmless."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.looked = 0
        self.hold = False

    async def send(self, caller: Caller, arguments: Arguments) -> str:
        assert caller.turn_id is not None
        self.sent.append(arguments["to"])
        if self.hold:
            await asyncio.Event().wait()
        return f"sent to {arguments['to']}"

    async def look(self, caller: Caller, arguments: Arguments) -> str:
        self.looked += 1
        if arguments["to"] == "nowhere":
            raise SomaError(Kind.UPSTREAM, "lost", "There is no such place.")
        if arguments["to"] == "crash":
            raise RuntimeError("a bug with sk-secret-0123456789abcdef in it")
        if arguments["to"] == "ever":
            await asyncio.Event().wait()
        return f"{arguments['to']} is far away" * (1000 if arguments["to"] == "much" else 1)

    def tools(self) -> dict[str, Tool]:
        send = Tool(
            "send",
            "Sends a letter.",
            ANYTHING,
            self.send,
            idempotent=False,
            needs_approval=True,
            risk=Risk.HIGH,
        )
        look = Tool(
            "look",
            "Looks a place up.",
            ANYTHING,
            self.look,
            idempotent=True,
            needs_approval=False,
            risk=Risk.LOW,
            labels=frozenset({Label.UNTRUSTED}),
            seconds=1.0,
            most_characters=2_000,
        )
        return {"send": send, "look": look}


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    """The tools that the catalogue holds in the story."""
    post = Post()
    tools = post.tools()
    monkeypatch.setattr(registry, "built_in", lambda: tools)
    return post


@pytest.fixture
def acme(model: str, post: Post) -> Organisation:
    acme = organisation("acme", model_url=model)
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["send", "look"])
    return acme


def calls(*wanted: tuple[str, Any]) -> str:
    return "calls: " + json.dumps([{"name": name, "arguments": arguments} for name, arguments in wanted])
