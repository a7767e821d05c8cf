"""What django-allauth asks us: who may sign in, how often somebody may try, and where they go on to.

Its own rate limits count attempts of one address (``settings.ACCOUNT_RATE_LIMITS``). Failed ones are counted
twice more here: those of a name from one address, so that who guesses locks out themselves and not the
name's owner, and those of a name from everywhere, for guesses that come from many addresses.
"""

from __future__ import annotations

from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse

from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.web import fallback
from somaagent.web.authentication import SECOND_FACTOR_MISSING, came_from_provider

from . import choosing, second_factor
from .places import password_change_url

logger = structlog.get_logger(__name__)

LIMITS = "allauth.account"
OF_NAME = "login_failed_name"
TOO_MANY = "too_many_login_attempts"
DISABLED = "This account is disabled. Ask the operator of this SomaAgent."


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Accounts are made by operators and identity providers, and by who shows an invitation (``invited``)."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": (
            "This name and password do not belong together. "
            "Mind capitals, and that the account may be disabled."
        ),
        TOO_MANY: "Too many failed attempts. Wait for five minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def is_ajax(self, request: HttpRequest) -> bool:
        """Sign-in is a page for people whatever the headers say; programs have API keys."""
        return False

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Pages say by themselves what happened; a message would wait for the next page of the admin."""

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Raise ``ValidationError`` where too many attempts have failed. Each counts until it succeeds."""
        name = _name(credentials)
        self._of_name = ratelimit.consume(request, app=LIMITS, action=OF_NAME, key=name)
        if self._of_name is None:
            self._locked()
            raise self.validation_error(TOO_MANY)
        try:
            super().pre_authenticate(request, **credentials)
        finally:
            if not self._login_failed_rl_usage:
                self._of_name.rollback()
                self._locked()

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        """None also for a disabled account: whether its password was right is told to nobody."""
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        if user is not None and not user.is_active:
            self.authentication_failed(request, **credentials)
            return None
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        metrics.SIGN_INS.labels(how="password", outcome="refused").inc()
        logger.info("sign_in.refused", address=self.get_client_ip(request))

    def respond_user_inactive(self, request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
        raise ImmediateHttpResponse(
            fallback.page_of_error(request, SomaError(Kind.FORBIDDEN, "account_disabled", DISABLED))
        )

    def post_login(self, request: HttpRequest, user: Any, **facts: Any) -> HttpResponse:
        if user.password_is_one_time:
            then = facts.get("redirect_url") or self.get_login_redirect_url(request)
            facts["redirect_url"] = password_change_url(then)
        # Who came from an identity provider has shown there what it asks for.
        if how(request) == "password" and second_factor.is_missing(user):
            request.session[SECOND_FACTOR_MISSING] = True
        arrival = getattr((facts.get("signal_kwargs") or {}).get("sociallogin"), "arrival", None)
        if arrival is not None:
            choosing.settle(request, arrival.tenant_id)
        response: HttpResponse = super().post_login(request, user, **facts)
        metrics.SIGN_INS.labels(how=how(request), outcome="ok").inc()
        logger.info("sign_in.ok", user_id=str(user.pk), address=self.get_client_ip(request))
        return response

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return f"{_name(credentials)}@{ratelimit.get_ip(request)}"

    def _rollback_login_failed_rl_usage(self) -> None:
        super()._rollback_login_failed_rl_usage()
        self._of_name.rollback()

    def _locked(self) -> None:
        metrics.SIGN_INS.labels(how="password", outcome="locked").inc()
        metrics.RATE_LIMITED.labels(limit="sign_in").inc()


def how(request: HttpRequest) -> str:
    """What the person of this browser session showed first: ``password`` or ``provider``."""
    return "provider" if came_from_provider(request.session) else "password"


def _name(credentials: dict[str, Any]) -> str:
    return str(credentials.get("username", "")).lower()
