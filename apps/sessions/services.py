"""Writes on sessions and messages. All run inside the tenant's scope."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scripts import fresh, performed, relate, rows_of

from . import branches, selectors
from .models import Agent, Message, MessageRole, ModelProfile, Session

TITLE_LENGTH = 60


def session_create(
    *, actor: Actor, agent: str | None = None, title: str = "", idempotency: Idempotency | None = None
) -> Session:
    """A new session with the named agent, or the default one."""
    chosen = selectors.agent_get(slug=agent)
    mine = Session.objects.filter(user_id=actor.user_id).select_related("agent")
    if idempotency and (existing := idempotency.find(mine)):
        return existing
    try:
        with transaction.atomic():
            return Session.objects.create(
                tenant_id=actor.tenant_id,
                user_id=actor.user_id,
                agent=chosen,
                title=title,
                **(idempotency.columns() if idempotency else {}),
            )
    except IntegrityError:
        # The same key, sent twice at once: the other one was first.
        if idempotency and (existing := idempotency.find(mine)):
            return existing
        raise


def session_new(*, actor: Actor, agent: Agent) -> Session:
    """A new session, for the caller to keep."""
    session = fresh(Session, tenant_id=actor.tenant_id, user_id=actor.user_id)
    relate(session, "agent", agent)
    return session


def session_update(
    *,
    actor: Actor,
    session_id: UUID,
    title: str | None = None,
    archived: bool | None = None,
    active_message: UUID | None = None,
) -> Session:
    """Rename, archive or bring back, go to the branch of a message; None leaves a fact as it is."""
    session = selectors.session_get(actor=actor, session_id=session_id, locked=True)
    if title is not None:
        session.title = title
    if archived is not None:
        session.archived_at = (session.archived_at or timezone.now()) if archived else None
    if active_message is not None:
        session.active_message_id = _end_of_branch(session_id, active_message)
    session.save(update_fields=["title", "archived_at", "active_message"])
    return session


def _end_of_branch(session_id: UUID, through: UUID) -> UUID:
    found = performed(rows_of(branches.end_of_branch(session_id=session_id, start=through)))
    if not found:
        raise invalid("body.active_message_id", "This session has no such message.")
    end: UUID = found[0][0]
    return end


def session_delete(*, actor: Actor, session_id: UUID) -> None:
    """Delete the session with all that was said in it."""
    selectors.session_get(actor=actor, session_id=session_id, locked=True).delete()


def message_from_user(*, session: Session, text: str, parent: UUID | None) -> Message:
    """What a user says after ``parent``, and what it makes of the session. Both are for the caller to keep.

    Its branch is the active one from now on; the first message gives an unnamed session its title.
    """
    refuse_archived(session)
    message = fresh(
        Message,
        tenant_id=session.tenant_id,
        session_id=session.id,
        parent_id=parent,
        role=MessageRole.USER,
        text=text,
    )
    session.title = session.title or title_of(text)
    session.active_message_id = message.id
    return message


def message_forget(*, session_id: UUID, message_id: UUID) -> None:
    """Delete what a message says, with a title that repeats it and the session's summaries, which may.

    Its place stays while others follow it.

    The caller holds the session, and the message belongs to it.
    """
    session = Session.objects.get(id=session_id)
    message = Message.objects.get(id=message_id, session_id=session_id)
    if session.title == title_of(message.text):
        session.title = ""
    Message.objects.filter(session_id=session_id).exclude(summary="").update(summary="")
    followed = Message.objects.filter(session_id=session_id, parent_id=message_id).exists()
    if session.active_message_id == message_id and not followed:
        session.active_message_id = message.parent_id
    session.save(update_fields=["title", "active_message"])
    if followed:
        message.text = ""
        message.save(update_fields=["text"])
    else:
        message.delete()


def refuse_archived(session: Session) -> None:
    if session.archived_at is not None:
        raise SomaError(Kind.CONFLICT, "session_archived", "This session is archived: bring it back first.")


def refuse_unfit(text: str, *, field: str, empty: str) -> None:
    """Refuse what cannot be a user's message: ``message_too_long``, or with the sentence ``empty``."""
    most = settings.MESSAGE_MAX_CHARS
    if len(text) > most:
        raise SomaError(
            Kind.TOO_LARGE,
            "message_too_long",
            f"A message holds at most {most} characters.",
            field=field,
        )
    if not text.strip():
        raise invalid(field, empty)


def title_of(text: str) -> str:
    """What a session is called that begins with this text: a line of at most ``TITLE_LENGTH``."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


def model_profile_ensure(
    *, tenant_id: UUID, slug: str, **facts: str | float | ModelProfile | None
) -> ModelProfile:
    """The profile of that name with these facts, made or brought up to date."""
    profile, _ = ModelProfile.objects.update_or_create(tenant_id=tenant_id, slug=slug, defaults=facts)
    return profile


def agent_ensure(
    *, tenant_id: UUID, slug: str, name: str, instructions: str, model_profile: ModelProfile
) -> Agent:
    """The tenant's first agent. One that is there, and what an operator made of it, is left alone."""
    first = not Agent.objects.filter(is_default=True).exists()
    agent, _ = Agent.objects.get_or_create(
        tenant_id=tenant_id,
        slug=slug,
        defaults={
            "name": name,
            "instructions": instructions,
            "model_profile": model_profile,
            "is_default": first,
        },
    )
    return agent
