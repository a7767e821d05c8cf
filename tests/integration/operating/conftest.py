"""An operator of the platform, with an organisation of their own, and one that they are to operate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Scope, Tenant
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, operator_client, organisation
from tests.integration.tenancy.town import Program

EVERYTHING = list(Scope)


@dataclass(frozen=True)
class Operating:
    """``browser``: the operator's, in the admin. ``actor``: their membership in their own organisation."""

    actor: Actor
    home: Organisation
    program: Program
    browser: Any


@pytest.fixture
def operator(db: None) -> Operating:
    home = organisation("platform")
    browser = operator_client(home.owner)
    return Operating(home.owner, home, Program(key_of(home.owner, scopes=EVERYTHING)), browser)


@pytest.fixture
def acme(db: None) -> Organisation:
    return organisation("acme")


def refusal(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    code: str = answer.json()["code"]
    return code


def told(tenant: Tenant, action: str) -> list[AuditEntry]:
    """The tenant's entries of one action, oldest first."""
    with tenant_scope(tenant.id):
        return list(AuditEntry.objects.filter(action=action).order_by("number"))
