"""The page of an organisation's members and invitations, for those who manage them."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from somaagent.errors import SomaError, invalid, not_found
from somaagent.problems import STATUS
from somaagent.tenancy import invitations, members
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Invitation, Role, Tenant
from somaagent.web.pagination import PageQuery, page_of

from .access import page

LONGEST_NAME = 200
LONGEST_KEY = 64


@require_safe
@page
def members_page(request: HttpRequest, actor: Actor) -> HttpResponseBase:
    """Members with their roles, a part of them behind ``?cursor=``; to who manages them, invitations too."""
    return _page(request, actor)


@require_POST
@page
def change(request: HttpRequest, actor: Actor, member_id: UUID) -> HttpResponseBase:
    """Give a member the role ``role``."""
    try:
        members.member_change(actor=actor, member_id=member_id, role=_role(request))
    except SomaError as error:
        return _page(request, actor, error=error, at=member_id)
    return redirect("members")


@require_http_methods(["GET", "HEAD", "POST"])
@page
def remove(request: HttpRequest, actor: Actor, member_id: UUID) -> HttpResponseBase:
    """Ask whether to end a membership; POST ends it."""
    member = members.member_get(actor=actor, member_id=member_id)
    if request.method != "POST":
        facts = {"member": member, "tenant": _tenant(actor), "oneself": member.user_id == actor.user_id}
        return render(request, "account/member_remove.html", facts)
    try:
        members.member_remove(actor=actor, member_id=member_id)
    except SomaError as error:
        return _page(request, actor, error=error, at=member_id)
    return redirect("chat" if member.user_id == actor.user_id else "members")


@require_POST
@page
def invite(request: HttpRequest, actor: Actor) -> HttpResponseBase:
    """Make an invitation, and show its link: this once."""
    try:
        name = _name(request)
        role = _role(request)
        made, token = invitations.invitation_create(
            actor=actor, role=role, name=name, idempotency=_idempotency(request, role, name)
        )
    except SomaError as error:
        return _page(request, actor, error=error, at="invitation")
    link = f"{settings.PUBLIC_URL.rstrip('/')}{reverse('invitation')}#{token}" if token else ""
    return _page(request, actor, made=made, link=link)


@require_POST
@page
def revoke(request: HttpRequest, actor: Actor, invitation_id: UUID) -> HttpResponseBase:
    """Nobody can accept it any more."""
    try:
        invitations.invitation_revoke(actor=actor, invitation_id=invitation_id)
    except SomaError as error:
        return _page(request, actor, error=error, at=invitation_id)
    return redirect("members")


def _page(
    request: HttpRequest, actor: Actor, *, error: SomaError | None = None, at: object = None, **facts: Any
) -> HttpResponseBase:
    """``error``: what could not be done; ``at``: to which row, or ``invitation`` for the form."""
    manages = members.manages(actor)
    listed = page_of(members.member_list(actor=actor), PageQuery(cursor=_cursor(request)))
    shown = {
        "tenant": _tenant(actor),
        "me": actor.user_id,
        "manages": manages,
        "roles": [role.value for role in Role if actor.role == Role.OWNER or role != Role.OWNER],
        "may_change_owners": actor.role == Role.OWNER,
        "members": listed["items"],
        "next": listed["next"],
        "invitations": _open_invitations(actor) if manages else [],
        "error": error.message if error else "",
        "at": at,
        "typed": request.POST,
        "key": uuid4().hex,
    }
    status = STATUS[error.kind].value if error else 200
    return render(request, "account/members.html", {**shown, **facts}, status=status)


def _open_invitations(actor: Actor) -> list[Invitation]:
    rows = invitations.invitation_list(actor=actor)
    still_open = rows.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())
    return list(still_open.order_by("-id"))


def _tenant(actor: Actor) -> Tenant:
    return Tenant.objects.get(id=actor.tenant_id)


def _role(request: HttpRequest) -> str:
    role = request.POST.get("role", "")
    if role not in Role.values:
        raise invalid("role", "Choose one of the roles.")
    return role


def _name(request: HttpRequest) -> str:
    name = request.POST.get("name", "").strip()
    if len(name) > LONGEST_NAME or "\x00" in name:
        raise invalid("name", f"At most {LONGEST_NAME} characters say whom it is for.")
    return name


def _idempotency(request: HttpRequest, role: str, name: str) -> Idempotency | None:
    """The form's own key: sent twice, it makes one invitation."""
    key = request.POST.get("key", "")
    if not key.isalnum() or not key.isascii() or len(key) > LONGEST_KEY:
        raise invalid("key", "This form is not whole: reload the page.")
    return Idempotency(f"page-{key}", hashlib.sha256(f"{role}\n{name}".encode()).digest())


def _cursor(request: HttpRequest) -> UUID | None:
    text = request.GET.get("cursor")
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise not_found("page") from error
