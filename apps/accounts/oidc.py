"""OpenID Connect, as django-allauth speaks it, with what it leaves out: the code flow with PKCE and a nonce.

allauth takes an ID token that it fetched over TLS without looking at its signature, which the specification
allows (OIDC Core, 3.1.3.7). Here signature, issuer, audience, time and nonce are checked each time, the
discovery document is that of the issuer that was declared (OIDC Discovery, 4.3), and what the userinfo
endpoint says is about the same person (OIDC Core, 5.3.2).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

_NONCES = "oidc_nonces"
_MOST_NONCES = 10


class Protocol(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """What is said to a provider, and what of its answers is believed.

    ``when_asked`` is called when it has said all that it is asked.
    """

    def __init__(
        self, request: HttpRequest, provider_id: str, *, when_asked: Callable[[], object] | None = None
    ) -> None:
        super().__init__(request, provider_id)
        self._when_asked = when_asked

    @property
    def openid_config(self) -> dict[str, Any]:
        found: dict[str, Any] = super().openid_config
        if found.get("issuer") != declared(self.provider_id).issuer:
            raise OAuth2Error("The discovery document is another issuer's.")
        return found

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """The one that was registered with the provider, whatever host name the browser used."""
        path = reverse("openid_connect_callback", kwargs={"provider_id": self.provider_id})
        return f"{settings.PUBLIC_URL.rstrip('/')}{path}"

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        try:
            id_token = self._decode_id_token(app, kwargs["response"]["id_token"])
            userinfo = self._fetch_user_info(token.token)
            if userinfo["sub"] != id_token["sub"]:
                raise OAuth2Error("The userinfo is another person's.")
            provider = self.get_provider()
            if self._when_asked:
                self._when_asked()
            return provider.sociallogin_from_response(
                request, {"userinfo": id_token | userinfo, "id_token": id_token}
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OAuth2Error(f"The answer is not one of OpenID Connect: {error!r}") from error

    def _decode_id_token(self, app: Any, id_token: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwtkit.verify_and_decode(
            credential=id_token,
            keys_url=self.openid_config["jwks_uri"],
            issuer=self.openid_config["issuer"],
            audience=app.client_id,
            lookup_kid=jwtkit.lookup_kid_jwk,
        )
        nonces = self.request.session.get(_NONCES, [])
        if claims.get("nonce") not in nonces:
            raise OAuth2Error("The ID token answers a question that was not asked here.")
        self.request.session[_NONCES] = [nonce for nonce in nonces if nonce != claims["nonce"]]
        return claims


class Provider(OpenIDConnectProvider):  # type: ignore[misc]  # allauth has no types
    """One of ``settings.OIDC_PROVIDERS``."""

    oauth2_adapter_class = Protocol
    pkce_enabled_default = True

    def get_auth_params(self) -> dict[str, str]:
        nonce = secrets.token_urlsafe(24)
        known = self.request.session.get(_NONCES, [])
        self.request.session[_NONCES] = [*known, nonce][-_MOST_NONCES:]
        return {"nonce": nonce}

    def extract_email_addresses(self, data: dict[str, Any]) -> list[Any]:
        """Those alone that the provider has verified, in the specification's sense of true."""
        found = super().extract_email_addresses(data)
        return [address for address in found if address.verified is True]

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = super().extract_common_fields(data)
        if not self.extract_email_addresses(data):
            fields.pop("email", None)
        return fields


def declared(slug: str) -> Any:
    """The provider of this slug. Raises ``SocialApp.DoesNotExist``, which allauth answers with 404."""
    for provider in settings.OIDC_PROVIDERS:
        if provider.slug == slug:
            return provider
    raise SocialApp.DoesNotExist
