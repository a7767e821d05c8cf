"""Operators' writes: the first rows of a platform, passwords, keys."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.management.base import CommandError
from django.db import transaction

from apps.sessions import services as sessions
from somaagent.tenancy import services as tenancy
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_entry_create
from somaagent.tenancy.models import Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_user

OPERATOR = "operator"
FIRST_TENANT = "default"
LOCAL_PROFILE = "local"
LOCAL_MODEL = "SmolLM2-135M-Instruct"
LOCAL_CONTEXT_TOKENS = 2048  # as much as ``somaagent.embedded.model_server`` gives to each request
LOCAL_SECRET = "models/local"  # noqa: S105 the name of a secret, not one
FIRST_AGENT = "assistant"
INSTRUCTIONS = "You are a helpful assistant. Answer in short, clear sentences, in Markdown."


@dataclass(frozen=True, slots=True)
class Seeded:
    """The first operator's name; their password and key where they were made now, else None."""

    operator: str
    password: str | None
    api_key: str | None


def platform_seed(*, local_model_url: str | None) -> Seeded:
    """Make what a new platform lacks. What is there is left alone, but for the local model's address."""
    with transaction.atomic():
        tenant = Tenant.objects.order_by("id").first() or tenancy.tenant_create(
            slug=FIRST_TENANT, name="My organisation"
        )
        seeded = _operator(tenant)
        if local_model_url:
            _local_agent(tenant, local_model_url)
    return seeded


def _operator(tenant: Tenant) -> Seeded:
    if User.objects.filter(username=OPERATOR).exists():
        return Seeded(OPERATOR, None, None)
    password = tenancy.one_time_password()
    user = tenancy.user_create(username=OPERATOR, password=password, is_staff=True, one_time=True)
    member = tenancy.membership_create(tenant=tenant, user=user, role=Role.OWNER)
    with tenant_scope(tenant.id):
        facts = {"user": user.id, "role": member.role}
        audit_entry_create(
            by=BY_COMMAND,
            action="membership.created",
            target_type="membership",
            target_id=member.id,
            facts=facts,
        )
    _, api_key = tenancy.api_key_create(tenant_id=tenant.id, user_id=user.id, name="first start")
    return Seeded(OPERATOR, password, api_key)


def _local_agent(tenant: Tenant, url: str) -> None:
    with tenant_scope(tenant.id):
        profile = sessions.model_profile_ensure(
            tenant_id=tenant.id,
            slug=LOCAL_PROFILE,
            name="Local model",
            base_url=url,
            model=LOCAL_MODEL,
            secret_name=LOCAL_SECRET,
            context_tokens=LOCAL_CONTEXT_TOKENS,
            tool_calls="constrained",
        )
        sessions.agent_ensure(
            tenant_id=tenant.id,
            slug=FIRST_AGENT,
            name="Assistant",
            instructions=INSTRUCTIONS,
            model_profile=profile,
        )


def password_reset(*, username: str) -> str:
    """A new one-time password. Django ends sessions that were opened with the old one."""
    password = tenancy.one_time_password()
    tenancy.user_set_password(user=_user(username), password=password, one_time=True)
    return password


def key_issue(*, username: str, name: str, scopes: list[str] | None) -> str:
    """A new API key of a user, in the tenant that they sign in to."""
    user = _user(username)
    actor = actor_by_user(user.id)
    if actor is None:
        raise CommandError(f"{username} belongs to no tenant.")
    return tenancy.api_key_create(tenant_id=actor.tenant_id, user_id=user.id, name=name, scopes=scopes)[1]


def _user(username: str) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user named {username}.")
    return user
