"""The questions that a policy is asked: may this call run, and may this person approve it?

Whatever keeps the policy from an answer that can be used is a denial, and its reason says so.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from uuid_utils.compat import uuid7

from somaagent.agent.messages import NOTHING_USED
from somaagent.observability import metrics

from . import answers, sources
from .encoding import encoded
from .engines import APPROVAL, DECISION, Answer, EmbeddedEngine, Engine
from .failures import PolicyError
from .inputs import Decision, Effect, Question

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who wants to approve a call, with their role in the call's organisation."""

    user_id: UUID
    role: str

    def data(self) -> dict[str, str]:
        return {"id": str(self.user_id), "role": self.role}


async def decide(question: Question) -> Decision:
    """What becomes of a call. Never raises: what fails is denied, logged and counted."""
    started = time.monotonic()
    decision, failure = await _judged(None, question.data())
    _observe("decision", started, failure)
    metrics.POLICY_DECISIONS.labels(effect=decision.effect.value).inc()
    return decision


async def decide_data(data: Mapping[str, Any], *, engine: Engine | None = None) -> Decision:
    """What becomes of a recorded question (``Question.data()``), by another engine where one is given.

    Not counted, since nothing is to be called. Never raises.
    """
    return (await _judged(engine, data))[0]


async def may_approve(question: Question, approver: Approver) -> tuple[bool, str]:
    """Whether ``approver``, of the call's organisation, may approve it, and why. Never raises."""
    started = time.monotonic()
    failure = None
    try:
        answer = await _ask(None, APPROVAL, {**question.data(), "approver": approver.data()})
        allowed, reason = answers.permission(answer.value)
    except PolicyError as error:
        allowed, reason, failure = False, error.reason, error
    _observe("approval", started, failure)
    return allowed, reason


def embedded(directory: Path) -> EmbeddedEngine:
    """An engine over the policy of another folder, to be closed. Raises ``PolicyError``."""
    return EmbeddedEngine(sources.read(directory), seconds=settings.POLICY_TIMEOUT_SECONDS)


async def probe() -> None:
    """Raises ``PolicyError`` where the engine does not answer, or not sensibly: for health."""
    await policy_of()
    approver = {"id": str(UUID(int=1)), "role": "viewer"}
    answers.permission((await _ask(None, APPROVAL, {**_probing(), "approver": approver})).value)


async def policy_of(engine: Engine | None = None) -> str:
    """The policy that the engine decides by; ours without one. Raises ``PolicyError`` as ``probe`` does."""
    answer = await _ask(engine, DECISION, _probing())
    answers.decision(answer.value)
    return answer.policy


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that this process decides by. ``policy`` is empty where it gives no answer, which denies
    every call; ``reason`` and ``detail`` say why then, to whoever calls and to the operator.

    ``loaded_at`` and ``on_disk`` (the digest of the files as they are now; None: they cannot be read) are of
    an engine that reads files, and None of others.
    """

    engine: str
    policy: str
    reason: str = ""
    detail: str = ""
    loaded_at: datetime | None = None
    on_disk: str | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether the files have changed since this process read them: a restart takes them."""
        return self.on_disk is not None and bool(self.policy) and self.on_disk != self.policy


async def in_force() -> InForce:
    """Asks the engine. Never raises."""
    policy, reason, detail, loaded_at = "", "", "", None
    try:
        policy = await policy_of()
        loaded_at = _ours().loaded_at
    except PolicyError as error:
        reason, detail = error.reason, str(error)
    on_disk = None if settings.OPA_URL else await asyncio.to_thread(_on_disk)
    return InForce(engine_name(), policy, reason, detail, loaded_at, on_disk)


def _on_disk() -> str | None:
    try:
        return sources.read(settings.POLICY_DIR).digest
    except PolicyError:
        return None


def _probing() -> dict[str, Any]:
    """A member's call of a tool of low risk."""
    return {
        "tenant": str(UUID(int=0)),
        "user": {"id": str(UUID(int=0)), "role": "member"},
        "agent": None,
        "tool": {
            "name": "probe",
            "source": "built_in",
            "risk": "low",
            "idempotent": True,
            "needs_approval": False,
            "labels": [],
        },
        "arguments": {},
        "labels": [],
        "budget": {"calls": 0, **NOTHING_USED.data()},
        "approval": None,
    }


async def _judged(engine: Engine | None, data: Mapping[str, Any]) -> tuple[Decision, PolicyError | None]:
    said, failure = "", None
    try:
        answer = await _ask(engine, DECISION, data)
        said = answer.policy
        effect, reason = answers.decision(answer.value)
    except PolicyError as error:
        effect, reason, failure = Effect.DENY, error.reason, error
    return Decision(uuid7(), effect, reason, said), failure


async def _ask(engine: Engine | None, rule: str, data: Mapping[str, Any]) -> Answer:
    text = encoded(data)
    return await (engine or _ours()).evaluate(rule, text)


def _observe(question: str, started: float, failure: PolicyError | None) -> None:
    engine = engine_name()
    metrics.POLICY_SECONDS.labels(engine=engine).observe(time.monotonic() - started)
    if failure:
        metrics.POLICY_FAILURES.labels(engine=engine, failure=failure.failure.value).inc()
        logger.error(
            "policy.failed",
            question=question,
            engine=engine,
            failure=failure.failure.value,
            reason=str(failure),
        )


def engine_name() -> str:
    """The engine that this installation is set to: ``opa`` or ``regopy``."""
    return "opa" if settings.OPA_URL else EmbeddedEngine.name


_engines: dict[tuple[str | None, Path, int], Engine] = {}


def _ours() -> Engine:
    """The engine of this process. The policy's files are read when it is first asked, and not again.

    A policy that could not be read is looked for again at the next question. Raises ``PolicyError``.
    """
    chosen = (settings.OPA_URL, settings.POLICY_DIR, settings.POLICY_TIMEOUT_SECONDS)
    if chosen not in _engines:
        _engines[chosen] = _opened(settings.OPA_URL)
    return _engines[chosen]


def _opened(url: str | None) -> Engine:
    if not url:
        return embedded(settings.POLICY_DIR)
    from .opa import OpaEngine  # noqa: PLC0415 - aiohttp is for those who have a server

    return OpaEngine(url, seconds=settings.POLICY_TIMEOUT_SECONDS)


def forget_engines() -> None:
    """Ends this process's engines: the next question reads the policy anew."""
    while _engines:
        _engines.popitem()[1].close()


# A fork has neither its parent's thread nor a right to its child.
os.register_at_fork(after_in_child=_engines.clear)
