"""What a model profile needs in each protocol."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from apps.sessions.models import ModelProfile, Protocol
from somaagent.tenancy.scope import tenant_scope
from tests.factories import organisation

pytestmark = pytest.mark.django_db


def checked(**facts: Any) -> None:
    acme = organisation("acme")
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get(slug="scripted")
        for name, value in facts.items():
            setattr(profile, name, value)
        profile.full_clean()


GEMINI = {"protocol": Protocol.PYDANTIC_AI, "model": "google:gemini", "secret_name": "models/google"}


def test_a_provider_in_its_own_protocol_needs_its_name_and_a_key_and_knows_its_address():
    checked(**GEMINI, base_url="")
    checked(**GEMINI, base_url="https://gemini.example.org")
    with pytest.raises(ValidationError, match="Write the model as one of google:NAME"):
        checked(**GEMINI | {"model": "gemini"})
    with pytest.raises(ValidationError, match="Every provider asks for a key"):
        checked(**GEMINI | {"secret_name": ""})
    with pytest.raises(ValidationError, match="Say where its server is"):
        checked(**GEMINI | {"model": "bedrock:claude"}, base_url="")


@pytest.mark.parametrize("protocol", [Protocol.OPENAI_COMPATIBLE, Protocol.ANTHROPIC])
def test_every_other_server_needs_its_address(protocol):
    with pytest.raises(ValidationError, match="Say where its server is"):
        checked(protocol=protocol, base_url="")


def test_only_anthropic_counts_tokens_of_thought():
    checked(protocol=Protocol.ANTHROPIC, thinking_tokens=2048)
    with pytest.raises(ValidationError, match="Only Anthropic's protocol counts them"):
        checked(thinking_tokens=2048)
    with pytest.raises(ValidationError, match="is not a valid choice"):
        checked(reasoning_effort="furious")
