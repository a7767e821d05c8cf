"""An agent with tools of its own, behind the official client of OpenAI's API."""

from __future__ import annotations

from uuid import UUID

import openai
import pytest
import requests

from tests.journeys.gateway import Gateway
from tests.journeys.house import SUM, TIME, House, calls, house

pytestmark = pytest.mark.django_db(transaction=True)

AGENT = "assistant"


@pytest.fixture
def home(gateway: Gateway) -> House:
    gateway.model.reset()
    return house(gateway)


@pytest.fixture
def client(gateway: Gateway, home: House) -> openai.OpenAI:
    """A member's program."""
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=home.member.api_key, max_retries=0)


def function(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_uses_the_agents_tools_and_refuses_what_somebody_had_to_approve(client, stream):
    said = [{"role": "user", "content": calls(SUM, TIME)}]
    answer = client.chat.completions.create(model=AGENT, messages=said, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        (choice,) = answer.choices
        assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
        text = choice.message.content
    assert text.startswith("42 | Error: It needs approval, and nobody can be asked here.")
    assert "In this house the time is told to nobody unasked." in text


def test_a_callers_function_comes_before_a_tool_of_the_same_name(client, gateway):
    answer = client.chat.completions.create(
        model=AGENT,
        messages=[{"role": "user", "content": calls(SUM)}],
        tools=[function("calculator")],
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (asked,) = gateway.model.requests()
    names = [tool["function"]["name"] for tool in asked["body"]["tools"]]
    assert sorted(names) == ["calculator", "current_time"]


def test_an_unstored_response_uses_them_too(client):
    response = client.responses.create(model=AGENT, input=calls(SUM, TIME), store=False)
    assert response.status == "completed"
    assert response.output_text.startswith("42 | Error: It needs approval")


def test_a_response_is_in_progress_while_it_waits_for_approval(client, gateway, home):
    response = client.responses.create(model=AGENT, input=calls(SUM, TIME))
    assert response.status == "in_progress"
    assert client.responses.retrieve(response.id).status == "in_progress"
    address = f"{gateway.url}/api/v1/turns/{UUID(response.id.removeprefix('resp_'))}/approvals"
    bearer = {"Authorization": f"Bearer {home.member.api_key}"}
    (asked,) = requests.get(address, headers=bearer, timeout=60).json()["items"]
    answer = {"calls": [{"call_id": asked["call_id"], "decision": "approve"}]}
    requests.post(address, json=answer, headers=bearer, timeout=60).raise_for_status()
    *_, last = client.responses.retrieve(response.id, stream=True)
    assert last.type == "response.completed"
    assert last.response.output_text.startswith("42 | ")
    assert "Europe/Paris" in client.responses.retrieve(response.id).output_text


def test_who_streams_a_response_is_told_of_the_question_and_answers_it(client, gateway, home):
    bearer = {"Authorization": f"Bearer {home.member.api_key}"}
    told, text = [], ""
    for event in client.responses.create(model=AGENT, input=calls(TIME), stream=True):
        told.append(event.type)
        if event.type == "response.created":
            turn_id = UUID(event.response.id.removeprefix("resp_"))
        elif event.type == "somaagent.approval.required":
            assert (event.risk, event.call["name"]) == ("low", "current_time")
            answer = {"calls": [{"call_id": event.call["id"], "decision": "approve"}]}
            address = f"{gateway.url}/api/v1/turns/{turn_id}/approvals"
            requests.post(address, json=answer, headers=bearer, timeout=60).raise_for_status()
        elif event.type == "response.completed":
            text = event.response.output_text
    assert "Europe/Paris" in text
    ours = [kind.removeprefix("somaagent.") for kind in told if kind.startswith("somaagent.")]
    assert ours == ["approval.required", "approval.answered", "tool.started", "tool.finished"]


def test_a_response_that_waits_for_approval_can_be_cancelled(client):
    response = client.responses.create(model=AGENT, input=calls(TIME))
    assert client.responses.cancel(response.id).status == "cancelled"
