"""Profiles that give embeddings, and what may not be done with them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from apps.chat.trial import try_model
from apps.sessions.models import Agent, ModelKind, ModelProfile, Protocol
from somaagent.background import run_coroutine
from tests import model_server

pytestmark = pytest.mark.django_db


def embedder(acme, **facts) -> ModelProfile:
    known = {
        "slug": "embedder",
        "name": "Embedder",
        "base_url": "http://model.invalid/v1",
        "model": "vectors",
    }
    return ModelProfile(tenant=acme.tenant, **{"kind": ModelKind.EMBEDDING, **known, **facts})


def faults_of(checked: ModelProfile | Agent) -> list[str]:
    with pytest.raises(ValidationError) as found:
        checked.full_clean()
    return sorted(found.value.message_dict)


def test_an_agent_cannot_speak_with_embeddings(acme):
    profile = embedder(acme)
    profile.full_clean()
    profile.save()
    acme.agent.model_profile = profile
    assert faults_of(acme.agent) == ["model_profile"]


def test_a_profile_that_agents_need_goes_on_giving_answers(acme):
    profile = acme.agent.model_profile
    profile.kind = ModelKind.EMBEDDING
    assert faults_of(profile) == ["kind"]


def test_nothing_stands_in_for_vectors_and_vectors_for_nothing(acme):
    answering = acme.agent.model_profile
    assert faults_of(embedder(acme, fallback=answering)) == ["fallback"]
    profile = embedder(acme)
    profile.save()
    answering.fallback = profile
    assert faults_of(answering) == ["fallback"]


def test_embeddings_come_by_one_protocol_and_dimensions_are_theirs_alone(acme):
    assert faults_of(embedder(acme, protocol=Protocol.ANTHROPIC)) == ["protocol"]
    assert faults_of(embedder(acme, kind=ModelKind.CHAT, dimensions=8)) == ["dimensions"]
    assert faults_of(embedder(acme, dimensions=0)) == ["dimensions"]


def test_a_trial_says_how_long_its_vectors_are(acme):
    with model_server.process() as url:
        profile = embedder(acme, base_url=f"{url}/v1")
        assert run_coroutine(try_model(profile)).startswith("It gives vectors of 8 numbers.")
