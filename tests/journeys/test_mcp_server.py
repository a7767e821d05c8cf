"""A program with the official client of MCP finds agents and tools at ``/mcp``, and uses them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from mcp.shared.exceptions import MCPError

from tests.journeys.gateway import another_gateway
from tests.journeys.mcp_program import HANDSHAKE, MODERN, all_tools, connected, run
from tests.journeys.openai_program import another_tenant, key_that_only_reads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[MODERN, HANDSHAKE])
def mode(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def fresh(gateway) -> None:
    gateway.model.reset()


@pytest.fixture
def turn_of(gateway, key) -> Callable[[str, str], dict[str, Any]]:
    """A turn, once it is in a state."""

    def wait(turn_id: str, state: str) -> dict[str, Any]:
        until = time.monotonic() + 30
        while (turn := read(gateway.url, key, f"turns/{turn_id}"))["state"] != state:
            assert time.monotonic() < until, turn
            time.sleep(0.05)
        return turn

    return wait


def read(url: str, key: str, path: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/api/v1/{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def newest_turn(gateway: Any, key: str) -> str:
    return str(read(gateway.url, key, "turns?limit=1")["items"][0]["id"])


def records(gateway: Any, tool: str) -> list[Any]:
    """What is on record of a tool's calls that no turn made, newest first."""

    def found() -> list[Any]:
        from apps.tools.models import ToolCallRecord  # noqa: PLC0415 - Django is not configured before
        from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above
        from tests.journeys.gateway import FIRST  # noqa: PLC0415 - as above

        with tenant_scope(FIRST):
            return list(ToolCallRecord.objects.filter(turn_id=None, tool=tool))

    rows: list[Any] = gateway.in_database(found)
    return rows


def agent_with_tools(gateway: Any, slug: str, *tools: str) -> None:
    def make() -> None:
        from apps.sessions import services  # noqa: PLC0415 - Django is not configured before
        from apps.sessions.models import Agent, ModelProfile  # noqa: PLC0415 - as above
        from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above
        from tests.journeys.gateway import FIRST  # noqa: PLC0415 - as above

        with tenant_scope(FIRST):
            profile = ModelProfile.objects.get(slug="scripted")
            agent = services.agent_ensure(
                tenant_id=FIRST, slug=slug, name=slug, instructions="", model_profile=profile
            )
            Agent.objects.filter(id=agent.id).update(tools=list(tools))

    gateway.in_database(make)


def key_among_agents(many: int, model_url: str) -> str:
    """A key of an organisation with so many agents."""
    from apps.sessions import services  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above
    from tests import factories  # noqa: PLC0415 - as above

    crowd = factories.organisation("crowd", model_url=model_url)
    with tenant_scope(crowd.tenant.id):
        for number in range(many):
            services.agent_ensure(
                tenant_id=crowd.tenant.id,
                slug=f"many-{number:03}",
                name="One of many",
                instructions="",
                model_profile=crowd.agent.model_profile,
            )
    return factories.key_of(crowd.owner)


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
    newest = records(gateway, "calculator")[0]
    assert (newest.outcome, newest.arguments, newest.session_id) == ("ok", {"expression": "6 * 7"}, None)
    assert newest.decision_id is not None


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


def test_what_does_not_fit_is_said_and_what_is_unknown_is_an_error(gateway, key, mode):
    async def program(client):
        wrong = await client.call_tool("calculator", {"expression": 7, "x": [[[]]]})
        empty = await client.call_tool("ask_assistant", {"input": "   "})
        extra = await client.call_tool("ask_assistant", {"input": "Hello", "agent": "another"})
        lost = await client.call_tool(
            "ask_assistant", {"input": "Hello", "session_id": "01890000-0000-7000-8000-000000000000"}
        )
        for name in ("nothing", "ask_nobody", "ask_", "ask_\x00", "../calculator", "calc*", "x" * 5000):
            with pytest.raises(MCPError, match="Unknown tool") as caught:
                await client.call_tool(name, {"input": "Hello"})
            assert (caught.value.code, caught.value.data) == (-32602, {"code": "tool_not_found"})
        with pytest.raises(MCPError, match="cursor") as caught:
            await client.list_tools(cursor="agent:'; --")
        assert caught.value.code == -32602
        return wrong, empty, extra, lost

    for result in run(program, gateway.url, key, mode):
        assert result.is_error
        assert result.content[0].text
    assert records(gateway, "calculator")[0].outcome == "refused"


def test_a_conversation_is_with_its_own_agent(gateway, key, mode):
    agent_with_tools(gateway, "other")

    async def program(client):
        first = await client.call_tool("ask_assistant", {"input": "say: Hello."})
        session = first.structured_content["session_id"]
        return await client.call_tool("ask_other", {"input": "say: Psst.", "session_id": session})

    result = run(program, gateway.url, key, mode)
    assert result.is_error
    assert "ask_assistant" in result.content[0].text


def test_what_a_model_fails_at_is_the_results_reason(gateway, key, mode):
    async def program(client):
        return await client.call_tool("ask_assistant", {"input": "fail 500"})

    result = run(program, gateway.url, key, mode)
    assert (result.is_error, result.structured_content["state"]) == (True, "failed")
    assert result.structured_content["error_code"] == "model_failed"


def test_who_waits_hears_how_far_it_is(gateway, key, mode):
    words = " ".join(f"w{number}" for number in range(12))
    heard: list[tuple[float, str]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        heard.append((progress, message or ""))

    async def program(client):
        return await client.call_tool(
            "ask_assistant", {"input": f"slow 0.2: {words}"}, progress_callback=listen
        )

    result = run(program, gateway.url, key, mode)
    assert result.content[0].text == words
    assert len(heard) > 1
    assert heard == sorted(heard)
    assert all(words.startswith(text) and text for _, text in heard)


def test_who_gives_up_stops_the_turn(gateway, key, mode, turn_of):
    begun = asyncio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async def program(client):
        call = client.call_tool(
            "ask_assistant", {"input": "slow 0.2: " + "word " * 200}, progress_callback=listen
        )
        asking = asyncio.ensure_future(call)
        await begun.wait()
        asking.cancel()
        await asyncio.wait({asking})
        turn_id = await asyncio.to_thread(newest_turn, gateway, key)
        return await asyncio.to_thread(turn_of, turn_id, "cancelled")

    assert run(program, gateway.url, key, mode)["output"].startswith("word")


def test_what_waits_for_approval_says_where_to_answer(gateway, key, mode, turn_of):
    agent_with_tools(gateway, "reader", "session_search", "http_fetch")
    fetch = {"name": "http_fetch", "arguments": {"url": "https://example.invalid/"}}
    search = {"name": "session_search", "arguments": {"query": "secret"}}
    told = f"calls: {json.dumps([search, fetch])}\nthen calls: {json.dumps([fetch])}\nthen say: I left it."

    async def program(client):
        return await client.call_tool("ask_reader", {"input": told})

    result = run(program, gateway.url, key, mode)
    facts = result.structured_content
    assert (result.is_error, facts["state"]) == (False, "awaiting_approval")
    (asked,) = facts["approvals"]
    assert (asked["tool"], asked["arguments"]) == ("http_fetch", fetch["arguments"])
    assert facts["answer_at"] == f"{gateway.url}/api/v1/turns/{facts['turn_id']}/approvals"
    denied = {"calls": [{"call_id": asked["call_id"], "decision": "deny"}]}
    requests.post(
        facts["answer_at"], json=denied, headers={"Authorization": f"Bearer {key}"}, timeout=30
    ).raise_for_status()
    assert turn_of(facts["turn_id"], "completed")["output"] == "I left it."


def test_who_may_only_read_lists_and_calls_nothing(gateway, mode):
    async def program(client):
        tools = await all_tools(client)
        with pytest.raises(MCPError, match="scope") as caught:
            await client.call_tool("calculator", {"expression": "1"})
        assert caught.value.data == {"code": "scope_missing"}
        return tools

    assert "calculator" in run(program, gateway.url, gateway.in_database(key_that_only_reads), mode)


def test_another_organisation_is_never_seen(gateway, key, mode):
    slug, theirs = gateway.in_database(lambda: another_tenant(gateway.model.base_url))

    async def ours(client):
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool(f"ask_{slug}", {"input": "Hello"})
        answer = await client.call_tool("ask_assistant", {"input": "say: Ours."})
        return await all_tools(client), answer.structured_content["session_id"]

    tools, session = run(ours, gateway.url, key, mode)
    assert f"ask_{slug}" not in tools

    async def rival(client):
        agents = {name for name in await all_tools(client) if name.startswith("ask_")}
        lost = await client.call_tool("ask_assistant", {"input": "Hello", "session_id": session})
        return agents, lost

    agents, lost = run(rival, gateway.url, theirs, mode)
    assert agents == {"ask_assistant", "ask_rival"}
    assert (lost.is_error, lost.content[0].text) == (True, "There is no such session.")


def test_a_revoked_key_is_refused_at_once(gateway, mode):
    def revoke(key: str) -> None:
        from somaagent.tenancy import selectors, services  # noqa: PLC0415 - Django is not configured before
        from somaagent.tenancy.models import ApiKey  # noqa: PLC0415 - as above
        from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

        actor = selectors.actor_by_api_key(key)
        assert actor is not None
        with tenant_scope(actor.tenant_id):
            key_id = ApiKey.objects.get(user_id=actor.user_id).id
        services.api_key_revoke(actor=actor, key_id=key_id)

    leaver = gateway.newcomer(one_time=False).api_key

    async def program():
        async with connected(gateway.url, leaver, mode) as client:
            assert (await client.call_tool("calculator", {"expression": "1"})).content[0].text == "1"
            await asyncio.to_thread(gateway.in_database, lambda: revoke(leaver))
            with pytest.raises(MCPError, match="revoked") as caught:
                await client.call_tool("calculator", {"expression": "1"})
            assert caught.value.data == {"code": "credential_refused"}

    asyncio.run(program())


def test_pages_of_many_agents_leave_nothing_out(gateway, mode):
    key = gateway.in_database(lambda: key_among_agents(103, gateway.model.base_url))
    tools = run(all_tools, gateway.url, key, mode)
    assert {f"ask_many-{number:03}" for number in range(103)} < tools.keys()
    assert "calculator" in tools


def test_two_gateways_answer_in_turn(gateway, neighbour, key, mode):
    async def program():
        session = None
        async with connected(gateway.url, key, mode) as here, connected(neighbour, key, mode) as there:
            for client in (here, there, here, there):
                more = {"session_id": session} if session else {}
                answer = await client.call_tool("ask_assistant", {"input": "say: Yes.", **more})
                assert answer.structured_content["session_id"] == (
                    session or answer.structured_content["session_id"]
                )
                session = answer.structured_content["session_id"]

    asyncio.run(program())


def test_a_gateway_that_is_stopped_hangs_up_and_cancels_nothing(
    gateway, stack, key, mode, worker, turn_of, tmp_path
):
    words = " ".join(f"w{number}" for number in range(40))

    begun = threading.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async def program(client):
        asked = {"input": f"slow 0.1: {words}"}
        with pytest.raises(MCPError, match="ended without a response"):
            await client.call_tool("ask_assistant", asked, progress_callback=listen)

    with ThreadPoolExecutor(1) as thread:
        with another_gateway(gateway, stack, tmp_path) as elsewhere:
            asking = thread.submit(run, program, elsewhere, key, mode)
            assert begun.wait(30)
        asking.result()
        assert turn_of(newest_turn(gateway, key), "completed")["output"] == words
