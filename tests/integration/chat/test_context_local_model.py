"""A real model summarises what it has no room for, and the conversation goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apps.sessions import keys
from apps.sessions.models import ModelProfile
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation
from tests.integration.chat.test_context import events, hosted, said, summaries
from tests.local_model import serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
KEY = "sk-local-0123456789"
WINDOW = 900
# As many as a profile gives to an answer, unless somebody says: a part of the window.
MOST_OUTPUT = 250
# About a hundred tokens each: six of them, with their answers, are more than the window has room for.
FACTS = [
    f"Fact {number}: the {name} has {number + 3} doors, {number + 5} windows and a roof of {roof}. It was "
    f"built by {builder} for a merchant, stands beside a small river, and is painted {colour} each spring by "
    "the people of the village, who meet there on Sundays to eat, to sing and to tell each other old stories."
    for number, (name, roof, builder, colour) in enumerate(
        [
            ("mill", "slate", "two brothers", "white"),
            ("barn", "straw", "a widow", "red"),
            ("school", "copper", "the town", "yellow"),
            ("chapel", "lead", "monks", "grey"),
            ("inn", "tiles", "a brewer", "green"),
            ("tower", "stone", "soldiers", "black"),
        ]
    )
]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("local"), KEY) as url:
        yield url


@pytest.fixture
def acme(local: str) -> Organisation:
    made = organisation("acme", model_url=local)
    with tenant_scope(made.tenant.id):
        profile = ModelProfile.objects.get()
        profile.model, profile.temperature = "local", 0
        profile.context_tokens, profile.max_output_tokens = WINDOW, MOST_OUTPUT
        profile.encrypted_key = keys.sealed(profile, KEY)
        profile.save()
    return made


def compactions(acme: Organisation, turn: Any) -> list[dict[str, Any]]:
    return events(acme, turn, "context.compacted")


def test_a_small_model_reads_its_own_summary_and_goes_on(acme):
    turns = []
    for fact in FACTS:
        session_id = turns[0].session_id if turns else None
        turns.append(hosted(acme, said(acme, f"{fact} Say: noted.", session_id)))
    assert [(turn.state, turn.error_code) for turn in turns] == [("completed", "")] * len(FACTS)
    assert all(turn.output_message.text.strip() for turn in turns)
    compacted = [event for turn in turns for event in compactions(acme, turn)]
    assert compacted
    assert all(event["tokens_after"] < event["tokens_before"] for event in compacted)
    assert all(event["summary"].strip() for event in compacted)
    kept = [message.summary for message in summaries(acme, turns[0].session_id)]
    assert kept[-1] == compacted[-1]["summary"]
