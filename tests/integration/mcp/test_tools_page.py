"""The operators' page of tools, and the agents' form that knows them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from apps.sessions.models import Agent
from apps.tools.models import ToolCallRecord
from apps.tools.policy import judging
from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.embedded.addresses import loopback
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, user_of
from tests.integration.mcp.conftest import Story


@pytest.fixture
def operator(acme: Organisation) -> Client:
    return operator_client(acme.owner)


def page_of(operator: Client) -> str:
    answer = operator.get(reverse("admin:tools"))
    assert answer.status_code == 200
    return answer.content.decode()


def row(page: str, table: str, name: str) -> str:
    """One row's text, its cells between bars."""
    inside = page.split(f'<table id="{table}"')[1].split("</table>", maxsplit=1)[0]
    (found,) = [each for each in inside.split("<tr")[1:] if re.search(rf">\s*{name}\s*(<|\()", each)]
    cells = re.split(r"</t[hd]>", found.partition(">")[2])
    return " | ".join(" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in cells).strip(" |")


def called(acme: Organisation, tool: str, outcome: str, call_id: str) -> None:
    with tenant_scope(acme.tenant.id):
        ToolCallRecord.objects.create(
            tenant=acme.tenant,
            user_id=acme.owner.user_id,
            call_id=call_id,
            tool=tool,
            source="built_in",
            arguments={},
            outcome=outcome,
        )


def equipped(acme: Organisation, *tools: str) -> None:
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=list(tools))


def test_an_operator_sees_all_tools_who_may_use_them_and_how_they_are(acme, story: Story, operator):
    story.add("well-1", name="The well")
    story.add("fails", name="The broken one")
    equipped(acme, "calculator", "well-1__*", "gone__*")
    for number, outcome in enumerate(("ok", "ok", "failed", "denied")):
        called(acme, "calculator", outcome, f"call_{number}")
    other = organisation("other")
    called(other, "calculator", "ok", "call_1")

    page = page_of(operator)
    assert row(page, "tools", "calculator") == (
        "calculator | built_in | low | yes | if the policy asks | – | "
        "10 s 6000 characters 600 a minute | Assistant | 4 ended 1 failed 1 not run | –"
    )
    echo = row(page, "tools", "well-1__echo")
    assert echo.startswith("well-1__echo | mcp:well-1 | medium | no | each call | untrusted |")
    assert echo.endswith("| Assistant | 0 ended 0 failed 0 not run | closed")
    assert "| none |" in row(page, "tools", "python")
    assert re.fullmatch(r"The well \| well-1 \| well \| \d+ \| closed \| –", row(page, "servers", "The well"))
    broken = row(page, "servers", "The broken one")
    assert broken.startswith(
        "The broken one | fails | mcp_failed | – | closed | The MCP server fails answers"
    )
    assert "gone__*" in page.split("Named by agents, but not there now")[1]
    assert "It answers." in page
    assert "<strong>regopy</strong>" in page
    assert run_coroutine(judging.policy_of()) in page
    assert reverse("admin:tools") in operator.get(reverse("admin:index")).content.decode()


def test_the_page_says_that_the_policy_does_not_answer(acme, operator, settings, tmp_path):
    settings.POLICY_DIR = tmp_path
    assert "every call is denied.</strong> The policy of tools is missing" in page_of(operator)


@pytest.fixture
def no_valkey(settings) -> Iterator[None]:
    """Nobody listens where Valkey is looked for. Sessions of browsers are in the database."""

    async def forget() -> None:
        valkey._of_loop._made.pop(asyncio.get_running_loop(), None)

    def begin_anew() -> None:
        valkey._of_process.cache_clear()
        run_coroutine(forget())

    with socket.create_server((loopback(), 0)) as free:
        port = free.getsockname()[1]
    settings.VALKEY = configured.VALKEY | {"port": port, "retries": 0}
    begin_anew()
    yield
    begin_anew()


@pytest.mark.usefixtures("no_valkey")
def test_the_page_and_the_form_say_what_is_not_known_without_valkey(acme, story: Story, operator):
    story.add("well-1")
    page = page_of(operator)
    assert "Valkey does not answer." in page
    assert "| not known | – | not known |" in row(page, "servers", "well-1")
    assert "calculator" in page
    assert "well-1__" not in page

    assert "What there is, is not known now: Valkey" in operator.get(form_of(acme)).content.decode()
    _, told = saved(operator, acme, "well-1__*")
    assert any("is not known now: Valkey" in each for each in told)


def test_only_operators_who_may_see_the_record_see_the_page(acme, operator):
    user = user_of(acme.owner)
    user.is_superuser = False
    user.save()
    assert operator.get(reverse("admin:tools")).status_code == 403
    user.is_staff = False
    user.save()
    assert operator.get(reverse("admin:tools")).status_code in (302, 403)


def form_of(acme: Organisation) -> str:
    return reverse("admin:agent_sessions_agent_change", args=[acme.agent.pk])


def saved(operator: Client, acme: Organisation, tools: str) -> tuple[str, list[str]]:
    """The form that came back, or nothing where it was taken, and what the operator was told."""
    facts: dict[str, Any] = {
        "name": "Assistant", "slug": "assistant", "instructions": "Answer.",
        "model_profile": str(acme.agent.model_profile_id), "tools": tools, "is_default": "on",
    }  # fmt: skip
    answer = operator.post(form_of(acme), facts)
    told = [str(each) for each in get_messages(answer.wsgi_request)]
    return (answer.content.decode() if answer.status_code == 200 else ""), told


def test_an_agent_is_given_tools_one_a_line_and_told_of_names_that_no_tool_has(acme, story: Story, operator):
    story.add("well-1")
    form = operator.get(form_of(acme)).content.decode()
    assert "There are: calculator, current_time" in form
    assert "well-1__*." in form

    back, told = saved(operator, acme, " calculator \r\n\r\nwell-1__*\r\ncalculator\r\nlater__thing")
    assert back == ""
    assert "No tool is named later__thing now: the agent goes without until there is one." in told
    with tenant_scope(acme.tenant.id):
        assert Agent.objects.get().tools == ["calculator", "well-1__*", "later__thing"]
    form = operator.get(form_of(acme)).content.decode()
    assert "calculator\nwell-1__*\nlater__thing</textarea>" in form

    for wrong in ("two words", "x" * 65, "calc[u]lator"):
        back, _ = saved(operator, acme, wrong)
        assert "is no name of a tool" in back
    assert "At most 200 lines" in saved(operator, acme, "\n".join(f"t{n}" for n in range(201)))[0]

    back, told = saved(operator, acme, "")
    assert (back, [each for each in told if "No tool" in each]) == ("", [])
    with tenant_scope(acme.tenant.id):
        assert Agent.objects.get().tools == []
