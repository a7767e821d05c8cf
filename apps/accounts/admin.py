"""What operators see of accounts: nothing of allauth's own pages, and second factors to take away."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from somaagent.tenancy.audit.audited import AuditedAdmin

from .browsers import in_words

for model in (EmailAddress, SocialAccount, SocialApp, SocialToken, UserSession, Authenticator):
    admin.site.unregister(model)


@admin.register(UserSession)
class UserSessionAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Where people are signed in. A session that is deleted here is over, with all that is open by it."""

    list_display = ("user", "browser", "ip", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "user__email", "ip")
    ordering = ("-created_at",)
    fields = readonly_fields = ("user", "browser", "ip", "created_at")

    @display(description="Browser")
    def browser(self, session: UserSession) -> str:
        return in_words(session.user_agent)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        obj.end()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserSession]) -> None:
        for session in queryset:
            session.end()


@admin.register(Authenticator)
class AuthenticatorAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """For somebody who lost their phone and their codes: without the row their password is enough again.

    What is sealed in it is shown to nobody.
    """

    list_display = ("user", "type", "created_at", "last_used_at")
    list_select_related = ("user",)
    list_filter = ("type",)
    search_fields = ("user__username", "user__email")
    fields = readonly_fields = ("user", "type", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
