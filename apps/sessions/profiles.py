"""Model profiles, as owners and admins of a tenant make and change them. All run in the tenant's scope.

They may point one at public addresses alone, and never at another server with a key that somebody typed for
the first. What has a key of the operator's, or reaches their network, is operators' to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from yarl import URL

from somaagent.agent.models.providers import UnknownProvider, provider_of
from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import audit_entry_create, differences, who
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.members import require_manager
from somaagent.tenancy.operators import operates, operator_only

from . import faults, keys, selectors
from .models import PRICES, ModelProfile, Protocol

MOST_PROFILES = 200
PERMISSION = "agent_sessions.change_modelprofile"
# What is set as it is given.
PLAIN = (
    "name", "protocol", "base_url", "public_only", "model", "kind", "dimensions", "max_output_tokens",
    "context_tokens", "temperature", "tool_calls", "reasoning_effort", "thinking_tokens", "connect_seconds",
    "first_token_seconds", "idle_seconds", "max_retries", "max_retry_wait_seconds", "breaker_failures",
    "breaker_seconds", "requests_per_minute", *PRICES,
)  # fmt: skip


def model_profile_create(
    *, actor: Actor, slug: str, facts: Mapping[str, Any], idempotency: Idempotency | None = None
) -> ModelProfile:
    """A new profile, at public addresses only unless an operator says otherwise.

    ``facts``: any of ``PLAIN``, ``fallback`` (a slug) and ``api_key`` (sealed). Raises ``operator_only``,
    ``model_profile_exists``, ``model_profiles_too_many``, ``secrets_unavailable`` or ``invalid``.
    """
    require_manager(actor)
    if idempotency and (existing := idempotency.find(selectors.model_profile_list())):
        return existing
    if ModelProfile.objects.count() >= MOST_PROFILES:
        sentence = f"A tenant has at most {MOST_PROFILES} model profiles: delete those that nobody needs."
        raise SomaError(Kind.CONFLICT, "model_profiles_too_many", sentence)
    made_by = idempotency.columns() if idempotency else {}
    profile = ModelProfile(tenant_id=actor.tenant_id, slug=slug, **made_by)
    _take(profile, {"public_only": True, **facts})
    _require_reach(actor, profile)
    faults.check(profile)
    try:
        with transaction.atomic():
            profile.save()
    except IntegrityError as error:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(selectors.model_profile_list())):
            return existing
        sentence = "There is a model profile of this slug already: choose another, or change that one."
        raise SomaError(Kind.CONFLICT, "model_profile_exists", sentence) from error
    _told(actor, profile.pk, "created", {"slug": slug, **_shown(profile)})
    return profile


def model_profile_change(*, actor: Actor, slug: str, changes: Mapping[str, Any]) -> ModelProfile:
    """``changes``: of ``model_profile_create``'s facts those that are to be others. The next step heeds them.

    A key that is there goes to no other server: whoever changes the server sends a key too, or removes it.
    """
    profile = _held(actor, slug)
    before, server = _shown(profile), _server(profile)
    _take(profile, changes)
    _require_reach(actor, profile)
    if "api_key" not in changes and profile.encrypted_key and _server(profile) != server:
        sentence = "Its key was typed for another server: send the key for this one too, or null for none."
        raise invalid("body.api_key", sentence)
    faults.check(profile)
    profile.save()
    changed = differences(before, _shown(profile))
    if changes.get("api_key"):
        changed.setdefault("own_key", "another")
    if changed:
        _told(actor, profile.pk, "changed", {"slug": slug, "values": changed})
    return profile


def model_profile_delete(*, actor: Actor, slug: str) -> None:
    """Delete a profile with its key. Raises ``model_profile_in_use`` where agents or profiles need it."""
    profile = _held(actor, slug)
    profile_id, facts = profile.pk, {"slug": slug, **_shown(profile)}
    try:
        with transaction.atomic():
            profile.delete()
            connection.check_constraints()  # now, not when all is done: an agent may get it meanwhile
    except (ProtectedError, IntegrityError) as error:
        sentence = "Agents speak with this model profile, or others fall back to it: give them another first."
        raise SomaError(Kind.CONFLICT, "model_profile_in_use", sentence) from error
    _told(actor, profile_id, "deleted", facts)


def _held(actor: Actor, slug: str) -> ModelProfile:
    """The profile, for whom it is to change, until the transaction's end nobody else's."""
    require_manager(actor)
    rows = selectors.model_profile_list().select_for_update(of=("self",), no_key=True)
    profile = rows.filter(slug=slug).first()
    if profile is None:
        raise not_found("model profile")
    if (profile.secret_name or not profile.public_only) and not operates(actor, PERMISSION):
        raise operator_only(
            "This model profile is the operators': it has a key of theirs, or reaches more than public "
            "addresses. Make one of your own, or ask an operator."
        )
    return profile


def _require_reach(actor: Actor, profile: ModelProfile) -> None:
    if not profile.public_only and not operates(actor, PERMISSION):
        raise operator_only(
            "Only operators make model profiles that reach more than that: leave out “public_only”."
        )


def _take(profile: ModelProfile, facts: Mapping[str, Any]) -> None:
    for name in PLAIN:
        if name in facts:
            setattr(profile, name, facts[name])
    if "fallback" in facts:
        profile.fallback = _fallback(facts["fallback"])
    if "api_key" in facts:
        _seal(profile, facts["api_key"])


def _fallback(slug: str | None) -> ModelProfile | None:
    if slug is None:
        return None
    found = selectors.model_profile_list().filter(slug=slug).first()
    if found is None:
        raise invalid("body.fallback", "There is no such model profile: /api/v1/model-profiles lists them.")
    return found


def _seal(profile: ModelProfile, key: str | None) -> None:
    """The key takes the place of any other, the operator's too; an empty one removes the profile's own."""
    if not key:
        profile.encrypted_key = ""
        return
    try:
        profile.encrypted_key = keys.sealed(profile, key)
    except settings.SECRETS.Error as error:
        sentence = "The key cannot be sealed now, because Vault does not answer as it should. Try again."
        raise SomaError(Kind.UNAVAILABLE, "secrets_unavailable", sentence, retry_after=5) from error
    profile.secret_name = ""


def _server(profile: ModelProfile) -> tuple[str, str, str]:
    """Where the key goes: another of these is another server."""
    provider = ""
    if profile.protocol == Protocol.PYDANTIC_AI:
        try:
            provider = provider_of(profile.model)[0].name
        except UnknownProvider:
            provider = profile.model  # refused when the profile is checked
    return profile.protocol, profile.base_url, provider


def _shown(profile: ModelProfile) -> dict[str, Any]:
    """As the audit tells a profile: never its key, and of its address what holds none."""
    facts: dict[str, Any] = {name: getattr(profile, name) for name in PLAIN}
    facts["base_url"] = _without_query(profile.base_url)
    facts["fallback"] = profile.fallback.slug if profile.fallback else None
    facts["own_key"] = bool(profile.encrypted_key)
    return facts


def _without_query(address: str) -> str:
    try:
        return str(URL(address).with_query(None).with_fragment(None)) if address else ""
    except ValueError:
        return ""  # refused when the profile is checked


def _told(actor: Actor, profile_id: UUID, what: str, facts: Mapping[str, Any]) -> None:
    audit_entry_create(
        by=who(actor),
        action=f"model_profile.{what}",
        target_type="model_profile",
        target_id=profile_id,
        facts=facts,
    )
