"""Profiles of scripted models, and turns that they answer."""

from __future__ import annotations

from typing import Any

import orjson
import requests

from apps.chat import host, tasks
from apps.chat.models import Turn
from apps.sessions import services as session_services
from apps.sessions.models import ModelProfile
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, submitted


def script(url: str, *steps: str) -> None:
    """What the next requests get, whatever their messages say (see ``tests.model_server``)."""
    requests.post(f"{url}/_script", data=orjson.dumps(steps), timeout=60).raise_for_status()


def asked(url: str) -> list[dict[str, Any]]:
    """The requests that the model server had until now."""
    return list(requests.get(f"{url}/_requests", timeout=60).json()["requests"])


def profile(acme: Organisation, slug: str, **facts: Any) -> ModelProfile:
    """The organisation's profile of that name, made or with other facts."""
    given = {"name": slug.title(), "model": slug, "base_url": "http://model.invalid/v1"} | facts
    with tenant_scope(acme.tenant.id):
        return session_services.model_profile_ensure(tenant_id=acme.tenant.id, slug=slug, **given)


def change(acme: Organisation, **facts: Any) -> ModelProfile:
    """Other facts of the profile that the organisation's agent speaks with."""
    return profile(acme, "scripted", base_url=acme.agent.model_profile.base_url, name="Scripted", **facts)


def answered(acme: Organisation, text: str) -> Turn:
    """A turn, run to its end by a worker."""
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, text).turn
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message").get(id=turn.id)
