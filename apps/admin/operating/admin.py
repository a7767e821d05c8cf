"""The operators' list of users, with what they do to them: each asks on a page of its own first."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display

from somaagent.tenancy import users
from somaagent.tenancy.admin import UserAdmin, operating
from somaagent.tenancy.confirming import ConfirmingAdmin, Question
from somaagent.tenancy.models import User

from . import people

SUSPEND = Question(
    "Suspend these users?",
    "They are shut out of every organisation at once: browser sessions and API keys are refused, open "
    "streams are cut off. Turns that run go on to their end. Nothing is lost; resuming lets them in again.",
    "Yes, suspend",
)
RESUME = Question(
    "Resume these users?",
    "They are let in again, with the API keys that they had.",
    "Yes, resume",
    dangerous=False,
)
END_SESSIONS = Question(
    "Sign these users out everywhere?",
    "Every browser that they are signed in with is signed out. Their API keys go on; to end these too, "
    "suspend the user or revoke the keys.",
    "Yes, sign out",
)
ONE_TIME_PASSWORD = Question(
    "Hand out a one-time password?",
    "You are shown a password, once, to pass on. It is good for choosing another at the next sign-in. The "
    "old password is dead, and every browser is signed out. A second factor is still asked for.",
    "Hand it out",
)

PLACES = ("tenants", "browser_sessions")


@admin.register(User)
class OperatedUserAdmin(ConfirmingAdmin, UserAdmin):
    actions = ("suspend", "resume", "end_sessions")
    actions_detail = ("suspend_this", "resume_this", "one_time_password", "end_sessions_here")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *PLACES)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_fieldsets(request, obj)
        return (*found, ("Where they are", {"fields": PLACES})) if obj else found

    @display(description="Organisations")
    def tenants(self, user: User) -> str:
        found = users.tenants_of(user_id=user.pk)
        return ", ".join(f"{each}{' (suspended)' if each.suspended_at else ''}" for each in found) or "–"

    @display(description="Browser sessions")
    def browser_sessions(self, user: User) -> int:
        return people.user_known(user_id=user.pk).sessions

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Those that would do something; none to oneself."""
        user: Any = self.get_object(request, object_id)
        found = super().get_actions_detail(request, object_id)
        if user is None or user.pk == request.user.pk:
            return []
        useless = "resume_this" if user.is_active else "suspend_this"
        return [each for each in found if each.path != useless]

    @action(description="Suspend the chosen users", permissions=["change"])
    def suspend(self, request: HttpRequest, rows: QuerySet[User]) -> Any:
        return self.confirmed(request, rows, SUSPEND, self._suspend)

    @action(description="Resume the chosen users", permissions=["change"])
    def resume(self, request: HttpRequest, rows: QuerySet[User]) -> Any:
        return self.confirmed(request, rows, RESUME, self._resume)

    @action(description="Sign the chosen users out everywhere", permissions=["change"])
    def end_sessions(self, request: HttpRequest, rows: QuerySet[User]) -> Any:
        return self.confirmed(request, rows, END_SESSIONS, self._end_sessions)

    @action(description="Suspend", url_path="suspend_this", icon="block", permissions=["change"])
    def suspend_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, SUSPEND, self._suspend)

    @action(description="Resume", url_path="resume_this", icon="play_arrow", permissions=["change"])
    def resume_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, RESUME, self._resume)

    @action(description="Sign out everywhere", url_path="end-sessions", icon="logout", permissions=["change"])
    def end_sessions_here(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, END_SESSIONS, self._end_sessions)

    @action(description="One-time password", url_path="one-time-password", icon="key", permissions=["change"])
    def one_time_password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, ONE_TIME_PASSWORD, self._one_time_password)

    def _suspend(self, request: HttpRequest, user: User) -> None:
        users.user_suspend(operator=operating(request), user_id=user.pk)
        messages.success(request, f"{user} is suspended.")

    def _resume(self, request: HttpRequest, user: User) -> None:
        users.user_resume(operator=operating(request), user_id=user.pk)
        messages.success(request, f"{user} is active.")

    def _end_sessions(self, request: HttpRequest, user: User) -> None:
        _, ended = people.user_sessions_end(operator=operating(request), user_id=user.pk)
        messages.success(request, f"{user} was signed out of {ended} browsers.")

    def _one_time_password(self, request: HttpRequest, user: User) -> HttpResponse:
        _, password = users.user_password_hand_out(operator=operating(request), user_id=user.pk)
        return self.shown_once(request, user, title="A one-time password", secret=password)
