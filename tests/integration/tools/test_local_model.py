"""The embedded model, whose replies are held to a schema, with a tool that must be approved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.chat.approvals import Given
from apps.chat.models import TurnState
from apps.chat.requests import Request
from apps.sessions import keys
from apps.sessions.models import Agent, ModelProfile
from apps.tools.models import ToolCallRecord
from somaagent.agent.ports import ModelSettings
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation, submitted
from tests.integration.tools.conftest import Post
from tests.integration.tools.hosted import answered, hosted, question
from tests.local_model import serving

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-local-0123456789"
# It may call the tool a few times before it has to answer.
MOST_QUESTIONS = 6


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("local"), KEY) as url:
        yield url


@pytest.fixture
def acme(local: str, post: Post) -> Organisation:
    acme = organisation("acme", model_url=local)
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["send"])
        profile = ModelProfile.objects.get(id=acme.agent.model_profile_id)
        profile.model, profile.tool_calls = "local", "constrained"
        profile.encrypted_key = keys.sealed(profile, KEY)
        profile.save()
    return acme


@pytest.mark.timeout(300)
def test_a_real_model_calls_is_asked_about_and_goes_on_with_what_was_changed(acme, post: Post):
    text = "Use the tool send to send a letter to Ada."
    must = ModelSettings(tool_choice="required", temperature=0.0, max_output_tokens=80)
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]
    request = Request(items=items, instructions=None, settings=must, tools=(), shown={})
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, text, request=request).turn
    turn = hosted(acme, turn)
    assert turn.state == TurnState.AWAITING_APPROVAL, turn.error_message
    assert question(acme, turn).tool == "send"

    for _ in range(MOST_QUESTIONS):
        if turn.state != TurnState.AWAITING_APPROVAL:
            break
        call = question(acme, turn)
        turn = answered(acme, turn, Given(call.call_id, approve=True, arguments={"to": "Grace"}))
    assert turn.state == TurnState.COMPLETED, turn.error_message
    assert turn.output_message.text
    assert set(post.sent) == {"Grace"}
    with tenant_scope(acme.tenant.id):
        records = list(ToolCallRecord.objects.filter(turn_id=turn.id))
    assert len(records) == len(post.sent)
    facts = {(record.outcome, record.answer, record.edited) for record in records}
    assert facts == {("ok", "approved", True)}
