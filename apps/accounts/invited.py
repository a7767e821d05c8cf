"""An invitation that somebody has shown, kept in their browser's session until they have accepted it.

Of its token the session has the digest alone, as the database does. It outlives a sign-in.
"""

from __future__ import annotations

from django.contrib.auth import logout
from django.db import transaction
from django.http import HttpRequest

from somaagent.errors import Kind, SomaError
from somaagent.tenancy import invitations
from somaagent.tenancy.invitations import Accepted, Shown
from somaagent.tenancy.models import User
from somaagent.tenancy.selectors import key_digest

from . import arriving, choosing
from .forms import AccountForm

INVITATION = "invitation"


def hold(request: HttpRequest, text: str) -> None:
    """Keep the invitation of a token, or of a whole link. Raises ``not_found`` where it opens nothing."""
    digest = key_digest(text.strip().rpartition("#")[2])
    invitations.invitation_shown(digest=digest)
    request.session[INVITATION] = digest.hex()


def held(request: HttpRequest) -> Shown | None:
    """The invitation that is kept; None where none is. One that is over is forgotten: ``not_found``."""
    digest = _digest(request)
    if digest is None:
        return None
    try:
        return invitations.invitation_shown(digest=digest)
    except SomaError:
        drop(request)
        raise


def drop(request: HttpRequest) -> None:
    request.session.pop(INVITATION, None)


def accept(request: HttpRequest, user: User) -> Accepted:
    """Who is signed in becomes a member, and works there from now on. Raises as ``invitation_accept``."""
    accepted = invitations.invitation_accept(digest=_kept(request), user_id=user.pk)
    drop(request)
    choosing.choose(request, accepted.membership.tenant_id)
    return accepted


def account_make(request: HttpRequest, form: AccountForm) -> tuple[User, Accepted]:
    """An account and its membership, both or none. Nobody has verified its address."""
    digest = _kept(request)
    with transaction.atomic():
        user: User = form.save()
        arriving.claim(user, user.email)
        accepted = invitations.invitation_accept(digest=digest, user_id=user.pk)
    drop(request)
    return user, accepted


def leave(request: HttpRequest) -> None:
    """Sign out, and keep the invitation for whom one signs in as next."""
    kept = request.session.get(INVITATION)
    logout(request)
    if kept:
        request.session[INVITATION] = kept


def _digest(request: HttpRequest) -> bytes | None:
    kept = request.session.get(INVITATION)
    return bytes.fromhex(kept) if kept else None


def _kept(request: HttpRequest) -> bytes:
    digest = _digest(request)
    if digest is None:
        raise SomaError(Kind.NOT_FOUND, "not_found", "Open the link of your invitation once more.")
    return digest
