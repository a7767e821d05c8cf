"""The second factor: who has to have one, how it is kept, and the pages about it. The flows are allauth's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base import views as base
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.cache import never_cache

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.selectors import belongings
from somaagent.web import fallback
from somaagent.web.authentication import SECOND_FACTOR_MISSING, has_to_have_second_factor

Page = Callable[..., HttpResponseBase]

# A second factor belongs to a person and to no tenant: it is sealed as the platform's own.
_PLATFORM = UUID(int=0)
_PURPOSE = "mfa.authenticator"


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Seeds are sealed with a data key of Vault's, as tenants' are. Both raise a ``SECRETS.Error``."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This code is not right, or was used already. Take the next one.",
        "cannot_delete_authenticator": "Your account has to have a second factor: it cannot be taken away.",
    }

    def encrypt(self, text: str) -> str:
        return str(settings.SECRETS.encrypt(text, tenant_id=_PLATFORM, purpose=_PURPOSE, row_id=_PLATFORM))

    def decrypt(self, encrypted_text: str) -> str:
        return str(
            settings.SECRETS.decrypt(encrypted_text, tenant_id=_PLATFORM, purpose=_PURPOSE, row_id=_PLATFORM)
        )

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return not is_required(authenticator.user)


def is_required(user: Any) -> bool:
    """Whether ``SA01_MFA_REQUIRED`` is about this user, wherever they work."""
    is_owner = any(place.role == Role.OWNER for place in belongings(user.pk))
    return has_to_have_second_factor(is_staff=user.is_staff, is_owner=is_owner)


def is_missing(user: User) -> bool:
    return is_required(user) and not is_mfa_enabled(user, [Authenticator.Type.TOTP])


class Activate(totp.ActivateTOTPView):  # type: ignore[misc]  # allauth has no types
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        self.request.session.pop(SECOND_FACTOR_MISSING, None)
        return response


def told(page: Page) -> Page:
    """A page that says what is away where Valkey or Vault is, and that nobody keeps."""

    @never_cache
    @functools.wraps(page)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = page(request, *args, **kwargs)
            if hasattr(response, "render"):
                response.render()  # codes are opened while it is
        except valkey.ERRORS as error:
            return fallback.store_away_page(request, error)
        except settings.SECRETS.Error:
            sentence = "Second factors cannot be opened now: Vault does not answer. Try again in a moment."
            return fallback.page_of_error(
                request, SomaError(Kind.UNAVAILABLE, "vault_unavailable", sentence, retry_after=5)
            )
        return response

    return guarded


index = told(base.index)
authenticate = told(base.authenticate)
reauthenticate = told(base.reauthenticate)
activate = told(Activate.as_view())
deactivate = told(totp.deactivate_totp)
view_codes = told(recovery_codes.view_recovery_codes)
new_codes = told(recovery_codes.generate_recovery_codes)
