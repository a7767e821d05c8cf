"""Writing entries: as a statement for scripts, and by the ORM's connection, within the caller's transaction.

An entry holds the lock on its tenant's chain until the transaction ends: write it last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import structlog

from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.recordable import recordable
from somaagent.tenancy.scripts import Script, Statement, performed
from somaagent.texts import storable

_APPEND = """
SELECT tenancy_audit_append(
    %(user)s::uuid, %(via)s::text, %(request)s::text, %(action)s::text, %(target_type)s::text,
    %(target)s::text, %(facts)s::text
)
"""
# Of the columns.
_LONGEST_REQUEST, _LONGEST_TARGET = 64, 64

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Who:
    """Who did it: a user, or nobody who is known; and by what way: ``browser``, ``api_key``, ``command`` …"""

    user_id: UUID | None
    via: str


BY_COMMAND = Who(None, "command")


def who(actor: Actor | None) -> Who:
    """The actor; who works without one is somebody at the server's command line."""
    return Who(actor.user_id, actor.via) if actor is not None else BY_COMMAND


def entry(
    *, by: Who, action: str, target_type: str = "", target_id: object = "", facts: Mapping[str, Any]
) -> Statement:
    """The statement that adds an entry to the chain of the transaction's tenant.

    ``action`` is dotted: what it was done to, and what in the past tense (``api_key.revoked``). Secrets in
    ``facts`` are masked, long texts cut. It stands by itself in a batch: ``together`` would leave it out.
    """
    context = structlog.contextvars.get_contextvars()
    parameters = {
        "user": by.user_id,
        "via": by.via,
        "request": str(context.get("request_id", ""))[:_LONGEST_REQUEST],
        "action": action,
        "target_type": target_type,
        "target": storable(str(target_id))[:_LONGEST_TARGET],
        "facts": orjson.dumps(recordable(facts), default=str, option=orjson.OPT_SORT_KEYS).decode(),
    }
    return Statement(_APPEND, parameters)


def audit_entry_create(
    *,
    by: Who,
    action: str,
    target_type: str = "",
    target_id: object = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry within the open ``tenant_scope``: it is there if what it tells of is. See ``entry``."""
    performed(
        _one(entry(by=by, action=action, target_type=target_type, target_id=target_id, facts=facts or {}))
    )


def _one(statement: Statement) -> Script[None]:
    yield [statement]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Facts on a change: of each name whose value is another one, both, as the admin's forms tell it."""
    return {name: {"from": before[name], "to": value} for name, value in now.items() if before[name] != value}


def audit_without_tenant(*, by: Who, action: str, target_type: str = "", target_id: object = "") -> None:
    """What is to be told of somebody who belongs to no tenant: no chain could hold it, so the log does."""
    metrics.AUDIT_WITHOUT_TENANT.inc()
    logger.warning(
        "audit.without_tenant",
        by_user=str(by.user_id or ""),
        via=by.via,
        action=action,
        target_type=target_type,
        target_id=str(target_id),
    )
