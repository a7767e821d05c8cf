"""``/api/v1/admin/services`` and ``settings``: the platform itself, for its operators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.operators import require_operator
from somaagent.web.health import ServiceHealth
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor
from somaagent.web.text import Text

from .platform import SEES_PLATFORM, services, settings_in_force

router = Router(tags=["admin: platform"])
router.add_decorator(in_tenant_of_actor)
AWAY: dict[int, type[Problem]] = {503: Problem}


class ServiceOut(ServiceHealth):
    name: str
    good: bool
    seconds: Annotated[float, Field(ge=0)] = Field(description="For how long it has been in its state.")


class ServicesOut(Schema):
    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[str] = Field(description="A sentence for each critical service that is not up.")
    mode: str
    version: str
    updated: datetime = Field(description="When this was recorded.")
    age_seconds: Annotated[float, Field(ge=0)] = Field(description="How long ago that was.")
    services: list[ServiceOut] = Field(description="Those in trouble first.")


class SettingFilter(Schema):
    q: Text = Field("", max_length=200, description="Words that a setting has, all of them.")


class SettingOut(Schema):
    name: str
    section: str
    doc: str
    takes: str = Field(description="What it may be, in words.")
    modes: list[str]
    required: bool
    secret: bool
    state: str = Field(description="`set`, `default`, `not set` or `not of this mode`.")
    source: str = Field(description="The process environment, a file, Vault's path and key, or `default`.")
    value: str | None = Field(description="As text. Of a secret always null: `state` says whether it is set.")
    default: str | None


class SettingsOut(Schema):
    items: list[SettingOut]


@router.get(
    "/services", response={200: ServicesOut, **PROBLEMS, **AWAY}, summary="Health of every service, in full"
)
def read_services(request: HttpRequest) -> Any:
    """For operators of the platform. Always 200: `/api/v1/health` is for who wants to know by the status."""
    require_operator(actor_of(request), SEES_PLATFORM)
    found = services()
    return {
        "status": found.record.status.value,
        "reasons": found.record.reasons(),
        "mode": found.record.mode,
        "version": found.record.version,
        "updated": found.record.updated,
        "age_seconds": found.age,
        "services": [
            {
                **{name: getattr(state.health, name) for name in ServiceHealth.model_fields},
                "name": state.name,
                "good": state.is_good,
                "seconds": state.seconds,
            }
            for state in found.states
        ],
    }


@router.get(
    "/settings", response={200: SettingsOut, **PROBLEMS, **AWAY}, summary="Every setting, with its source"
)
def read_settings(request: HttpRequest, wanted: Query[SettingFilter]) -> Any:
    """For operators of the platform: what this process of the gateway was started with, without secrets."""
    require_operator(actor_of(request), SEES_PLATFORM)
    return {"items": [dict(fact) for fact in settings_in_force(words=wanted.q)]}
