"""What the catalogue of events promises: its documents, and every event that there is."""

from __future__ import annotations

import io
import json
import re
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from django.core.management import call_command

from apps.chat import completions
from apps.chat.models import TurnState
from apps.sessions.models import Agent, ModelProfile
from apps.tools.models import Answer
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings, Outcome
from somaagent.background import run_coroutine
from somaagent.tenancy.ledger.models import Source
from somaagent.tenancy.outbox.catalogue import CATALOGUE, ToolCalled, TurnFinished, UsageRecorded
from somaagent.tenancy.outbox.messages import events_of, message_of
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, keyed, organisation, submitted
from tests.integration.tools.conftest import calls, model, post  # noqa: F401 fixtures
from tests.integration.tools.hosted import hosted
from tests.stack import PROJECT_ROOT

pytestmark = pytest.mark.django_db(transaction=True)
DOCS = PROJECT_ROOT / "docs"


def printed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("event_catalogue", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def acme(model: str, post: Any) -> Organisation:  # noqa: F811 the fixtures
    acme = organisation("acme", model_url=model)
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["look"])
        ModelProfile.objects.update(input_price=Decimal("0.15"), output_price=Decimal("0.6"))
    return acme


def events(acme: Organisation) -> list[OutboxEvent]:
    with tenant_scope(acme.tenant.id):
        return list(OutboxEvent.objects.order_by("place"))


def of_type(acme: Organisation, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events(acme) if event.type == kind]


def test_the_documents_are_what_the_catalogue_says():
    assert (DOCS / "events.md").read_text() == printed()
    assert (DOCS / "events.schema.json").read_text() == printed("--schema")
    jsonschema_rs.meta.validate(json.loads(printed("--schema")))
    assert get_args(TurnFinished.model_fields["state"].annotation) == (
        TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED,
    )  # fmt: skip
    assert set(get_args(ToolCalled.model_fields["outcome"].annotation)) == set(Outcome)
    assert set(get_args(ToolCalled.model_fields["answer"].annotation)) == {"", *Answer.values}
    assert set(get_args(UsageRecorded.model_fields["source"].annotation)) == set(Source.values)


def test_no_code_tells_of_a_type_that_the_catalogue_lacks():
    """Types are written behind the words that keep an event, in Python, and for the audit in SQL."""
    kept = re.compile(r"""(?:kind=|clock_timestamp\(\), [^,]+, )["']([a-z]+\.[a-z_]+)["']""")
    sources = [path for folder in ("apps", "somaagent") for path in Path(PROJECT_ROOT, folder).rglob("*.py")]
    assert {name for path in sources for name in kept.findall(path.read_text())} == set(CATALOGUE)


def test_every_event_is_as_the_catalogue_says(acme):
    """A turn with a call of a tool, one that fails, a chat completion, and a key that is made."""
    with tenant_scope(acme.tenant.id):
        answered = submitted(acme.owner, calls(("look", {"to": "Oslo"})) + "\nthen say: Far.").turn
    assert hosted(acme, answered).state == "completed"
    with tenant_scope(acme.tenant.id):
        failing = submitted(acme.owner, "fail 400").turn
    assert hosted(acme, failing).state == "failed"
    asker = keyed(acme.owner)

    async def complete() -> None:
        asked = completions.Asked("assistant", [ModelMessage("user", "say: hi")], ModelSettings())
        async with aclosing(await completions.begin(actor=asker, asked=asked)) as said:
            async for _ in said:
                pass

    run_coroutine(complete())
    key_of(acme.owner)

    found = events(acme)
    assert {event.type for event in found} == set(CATALOGUE)
    validator = jsonschema_rs.validator_for(json.loads((DOCS / "events.schema.json").read_text()))
    with tenant_scope(acme.tenant.id):
        published = events_of(OutboxEvent.objects.filter(id__in=[event.id for event in found]), after=0)
    assert len(published) == len(found)
    for message in map(message_of, published):
        validator.validate(json.loads(message.value))
    for event in found:
        CATALOGUE[event.type].model_validate(event.data, extra="forbid")
    used = of_type(acme, "usage.recorded")
    assert [one["step"] for one in used if one["run_id"] == str(answered.id)] == [1, 2]
    (completion,) = [one for one in used if one["source"] == "completion"]
    assert (completion["api_key_id"], completion["input_price"]) == (str(asker.key_id), "0.15")
    assert Decimal(completion["cost"]) > 0
    assert {one["state"] for one in of_type(acme, "turn.finished")} == {"completed", "failed"}
    assert "Oslo" not in json.dumps([event.data for event in found])
