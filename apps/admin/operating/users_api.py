"""``/api/v1/admin/users``: operators look for people, suspend and resume them, and help them in again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy import users
from somaagent.web.answers import answer
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.security import in_tenant_of_actor

from . import people
from .users_schemas import HandedOut, SessionsEnded, TenantOfUser, UserDetail, UserOut, UserQuery
from .who import operator_of

router = Router(tags=["operators: users"])
router.add_decorator(in_tenant_of_actor)
VIEW, CHANGE = "tenancy.view_user", "tenancy.change_user"
REFUSED = {409: Problem, **PROBLEMS}


@router.get("", response={200: Page[UserOut], **PROBLEMS})
def list_users(request: HttpRequest, page: Query[PageQuery], wanted: Query[UserQuery]) -> Any:
    """Everybody with an account, newest first."""
    operator_of(request, VIEW)
    return page_of(users.user_list(**wanted.asked()), page)


@router.get("/{uuid:user_id}", response={200: UserDetail, **PROBLEMS})
def read_user(request: HttpRequest, user_id: UUID) -> Any:
    operator_of(request, VIEW)
    known = people.user_known(user_id=user_id)
    tenants = [TenantOfUser.from_orm(each).model_dump() for each in known.tenants]
    facts = UserOut.from_orm(known.user).model_dump()
    return answer(facts | {"tenants": tenants, "browser_sessions": known.sessions})


@router.post("/{uuid:user_id}/suspend", response={200: UserOut, **REFUSED})
def suspend_user(request: HttpRequest, user_id: UUID) -> Any:
    """Shut somebody out of every tenant: sessions, keys and streams are dead at once. Not oneself."""
    return users.user_suspend(operator=operator_of(request, CHANGE), user_id=user_id)


@router.post("/{uuid:user_id}/resume", response={200: UserOut, **REFUSED})
def resume_user(request: HttpRequest, user_id: UUID) -> Any:
    """Let somebody in again, with the keys that they had."""
    return users.user_resume(operator=operator_of(request, CHANGE), user_id=user_id)


@router.post("/{uuid:user_id}/end-sessions", response={200: SessionsEnded, **REFUSED})
def end_sessions(request: HttpRequest, user_id: UUID) -> Any:
    """Sign somebody out of every browser. Their API keys go on."""
    _, ended = people.user_sessions_end(operator=operator_of(request, CHANGE), user_id=user_id)
    return SessionsEnded(ended=ended)


@router.post("/{uuid:user_id}/one-time-password", response={200: HandedOut, **REFUSED})
def hand_out_password(request: HttpRequest, user_id: UUID) -> Any:
    """For somebody who lost theirs, which is dead with it. They choose another at the next sign-in."""
    _, password = users.user_password_hand_out(operator=operator_of(request, CHANGE), user_id=user_id)
    return HandedOut(password=password)
