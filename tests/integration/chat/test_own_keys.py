"""A model's key that its tenant typed in: sealed, never shown, used for that tenant's turns."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse

from apps.chat import host, tasks
from apps.chat.models import Turn, TurnState
from apps.sessions import keys
from apps.sessions.models import ModelProfile
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import Organisation, operator_client, organisation, submitted

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-of-acme-alone-1"


@pytest.fixture(scope="module")
def model():
    with model_server.process(key=KEY) as url:
        yield url


def operator_of(acme: Organisation) -> Client:
    return operator_client(acme.owner)


def typed(profile: ModelProfile, **facts: Any) -> dict[str, Any]:
    """The form of a profile as a browser sends it."""
    shown = {name: value for name, value in model_to_dict(profile).items() if value is not None}
    return shown | facts


def profile_of(acme: Organisation) -> ModelProfile:
    with tenant_scope(acme.tenant.id):
        return ModelProfile.objects.get(id=acme.agent.model_profile_id)


def save(acme: Organisation, **facts: Any) -> str:
    """Saves the form; the page that came back, or nothing when it was taken."""
    profile = profile_of(acme)
    address = reverse("admin:agent_sessions_modelprofile_change", args=[profile.pk])
    answer = operator_of(acme).post(address, typed(profile, **facts))
    return answer.content.decode() if answer.status_code == 200 else ""


def answered(acme: Organisation) -> Turn:
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "say: well").turn
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.get(id=turn.id)


def test_a_key_is_typed_used_replaced_and_removed(model):
    acme = organisation("acme", model_url=f"{model}/v1")
    assert answered(acme).error_code == "model_refused_key"

    assert save(acme, own_api_key="sk-a-wrong-one") == ""
    assert answered(acme).error_code == "model_refused_key"
    assert save(acme, own_api_key=KEY) == ""
    assert answered(acme).state == TurnState.COMPLETED
    assert save(acme, name="Renamed") == ""
    assert answered(acme).state == TurnState.COMPLETED, "an empty field leaves the key as it is"

    address = reverse("admin:agent_sessions_modelprofile_change", args=[profile_of(acme).pk])
    page = operator_of(acme).get(address).content.decode()
    assert "One is set" in page
    for secret in (KEY, profile_of(acme).encrypted_key):
        assert secret not in page

    assert save(acme, remove_own_api_key="on") == ""
    assert profile_of(acme).encrypted_key == ""
    assert answered(acme).error_code == "model_refused_key"


def test_a_new_profile_may_come_with_its_key():
    acme = organisation("acme")
    facts = {"name": "Second", "slug": "second", "own_api_key": KEY}
    answer = operator_of(acme).post(
        reverse("admin:agent_sessions_modelprofile_add"), typed(profile_of(acme), **facts)
    )
    assert answer.status_code == 302
    with tenant_scope(acme.tenant.id):
        second = ModelProfile.objects.get(slug="second")
    assert KEY not in second.encrypted_key
    assert keys.opened(second) == KEY


def test_a_key_is_the_profiles_own_or_one_that_vault_has_by_name_not_both():
    acme = organisation("acme")
    assert "key of its own" in save(acme, own_api_key=KEY, secret_name="models/openai")
    assert "Either type a key or remove" in save(acme, own_api_key=KEY, remove_own_api_key="on")
    assert "no spaces" in save(acme, own_api_key="two words here")
    assert profile_of(acme).encrypted_key == ""
    save(acme, own_api_key=KEY)
    assert "key of its own" in save(acme, secret_name="models/openai")
    assert save(acme, secret_name="models/openai", remove_own_api_key="on") == ""
    with pytest.raises(IntegrityError, match="model_profile_one_key"), tenant_scope(acme.tenant.id):
        ModelProfile.objects.update(secret_name="models/openai", encrypted_key="soma1.x.y")


def test_a_key_that_was_moved_to_another_profile_does_not_open_there(model):
    acme, thief = (organisation(name, model_url=f"{model}/v1") for name in ("acme", "thief"))
    save(acme, own_api_key=KEY)
    with tenant_scope(thief.tenant.id), transaction.atomic():
        ModelProfile.objects.update(encrypted_key=profile_of(acme).encrypted_key)
    turn = answered(thief)
    assert (turn.state, turn.error_code) == (TurnState.FAILED, "model_secret_missing")
    assert "Set it again" in turn.error_message
