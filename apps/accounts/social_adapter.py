"""What django-allauth asks us about people who come from an identity provider."""

from __future__ import annotations

from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base.constants import AuthError
from django.conf import settings
from django.http import HttpRequest

from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.tenancy import arrivals
from somaagent.tenancy.models import User
from somaagent.web import fallback

from . import arriving, oidc
from .audited import sign_in_refused

logger = structlog.get_logger(__name__)

CLIENT_SECRET = "client_secret"  # noqa: S105  its name in Vault


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Providers are those that the operator declared; in the database there are none."""

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        del client_id  # of two providers with one client id the slug tells
        return [
            _app(each) for each in settings.OIDC_PROVIDERS if provider in (None, oidc.Provider.id, each.slug)
        ]

    def authenticate_by_email(self, sociallogin: Any) -> None:
        """Never by itself: ``pre_social_login`` knows whose address it may be."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Who got as far as this was let in by name of the provider (``arriving``)."""
        return True

    def is_email_verified(self, provider: Any, email: str) -> bool:
        """Beyond what the provider itself says, nothing is."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Let them in, or refuse them in words. ``sociallogin.user`` is their account from here on."""
        provider = oidc.declared(sociallogin.account.provider)
        claims = sociallogin.account.extra_data["userinfo"]
        try:
            arrival = arriving.arrival_of(provider, claims)
            if not sociallogin.is_existing:
                known = arriving.account_of(arrival.email, _claimed(claims), arrival)
                if known is not None:
                    sociallogin.connect(request, known)
                    logger.info("sign_in.account_merged", user_id=str(known.pk), provider=provider.slug)
        except SomaError as error:
            if sociallogin.is_existing:
                sign_in_refused(sociallogin.user, error.code)
            raise refusal(request, error, provider.slug) from error
        sociallogin.arrival = arrival
        if sociallogin.is_existing:
            _settle(sociallogin.user, arrival)

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Always. Whose their address is was judged before: allauth, which is asked next, would also count
        those who only say that it is theirs.
        """
        sociallogin.proven_addresses, sociallogin.email_addresses = sociallogin.email_addresses, []
        return True

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        sociallogin.email_addresses = sociallogin.proven_addresses
        user: User = super().save_user(request, sociallogin, form)
        _settle(user, sociallogin.arrival)
        logger.info("sign_in.account_made", user_id=str(user.pk), provider=sociallogin.account.provider)
        return user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        name, slug = provider.app.name, provider.app.provider_id
        if error == AuthError.CANCELLED:
            sentence = f"You did not sign in at {name}. Go back and choose how you sign in."
            raise refusal(request, SomaError(Kind.FORBIDDEN, "sign_in_cancelled", sentence), slug)
        logger.warning("sign_in.provider_failed", provider=slug, reason=repr(exception or error))
        sentence = f"Signing in with {name} failed. Go back and try again; if it stays so, tell the operator."
        raise refusal(request, SomaError(Kind.UPSTREAM, "provider_failed", sentence), slug)


def refusal(request: HttpRequest, error: SomaError, slug: str) -> ImmediateHttpResponse:
    metrics.SIGN_INS.labels(how="provider", outcome="refused").inc()
    address = get_adapter().get_client_ip(request)
    logger.info("sign_in.refused", provider=slug, code=error.code, address=address)
    return ImmediateHttpResponse(fallback.page_of_error(request, error))


def _settle(user: User, arrival: arriving.Arrival) -> None:
    arrivals.membership_arrive(
        tenant_id=arrival.tenant_id, user=user, role=arrival.role, follows=arrival.follows
    )


def _claimed(claims: dict[str, Any]) -> str | None:
    email = claims.get("email")
    return email if isinstance(email, str) and email else None


def _app(provider: Any) -> SocialApp:
    """Not saved. Raises ``settings.SECRETS.Error`` where Vault does not give the client secret."""
    facts: dict[str, Any] = {"server_url": provider.issuer, "scope": list(provider.scopes)}
    if provider.client_auth:
        facts["token_auth_method"] = provider.client_auth
    return SocialApp(
        provider=oidc.Provider.id,
        provider_id=provider.slug,
        name=provider.name,
        client_id=provider.client_id,
        secret=settings.SECRETS.read(f"oidc/{provider.slug}", CLIENT_SECRET),
        settings=facts,
    )
