"""A program with the official client of MCP finds agents and tools at ``/mcp``, and uses them."""

from __future__ import annotations

import pytest

from tests.journeys.mcp_program import HANDSHAKE, MODERN, all_tools, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[MODERN, HANDSHAKE])
def mode(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def fresh(gateway) -> None:
    gateway.model.reset()


def test_agents_and_tools_are_listed_with_what_they_are(gateway, key, mode):
    async def program(client):
        assert client.server_info.name == "somaagent"
        assert client.protocol_version == ("2026-07-28" if mode == MODERN else "2025-11-25")
        return await all_tools(client)

    tools = run(program, gateway.url, key, mode)
    agent, calculator = tools["ask_assistant"], tools["calculator"]
    assert agent.title == "Assistant"
    assert agent.input_schema["required"] == ["input"]
    assert (agent.annotations.read_only_hint, agent.annotations.open_world_hint) == (False, True)
    assert (calculator.annotations.read_only_hint, calculator.annotations.idempotent_hint) == (True, True)
    assert calculator.annotations.open_world_hint is False
    assert tools["http_fetch"].annotations.open_world_hint is True


def test_a_tool_is_called(gateway, key, mode):
    async def program(client):
        return await client.call_tool("calculator", {"expression": "6 * 7"})

    result = run(program, gateway.url, key, mode)
    assert (result.is_error, result.content[0].text) == (False, "42")


def test_an_agent_is_asked_and_asked_again(gateway, key, mode):
    async def program(client):
        first = await client.call_tool("ask_assistant", {"input": "say: Good morning."})
        session = first.structured_content["session_id"]
        again = await client.call_tool("ask_assistant", {"input": "say: Still here.", "session_id": session})
        return first, again

    first, again = run(program, gateway.url, key, mode)
    assert (first.is_error, first.content[0].text) == (False, "Good morning.")
    assert first.structured_content["state"] == "completed"
    assert again.structured_content["session_id"] == first.structured_content["session_id"]
    told = gateway.model.requests()[-1]["body"]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
