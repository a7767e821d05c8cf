"""What happens to accounts, told by django-allauth's signals: second factors, and people of providers."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import user_signed_up
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from allauth.socialaccount.signals import social_account_added
from django.dispatch import receiver

from somaagent.tenancy.audit.entries import Who
from somaagent.tenancy.audit.people import audit_of_user
from somaagent.tenancy.models import User


@receiver(authenticator_added)
def factor_added(user: User, authenticator: Authenticator, **_: Any) -> None:
    _by_themselves(user, action="user.second_factor_added", kind=authenticator.type)


@receiver(authenticator_removed)
def factor_removed(user: User, authenticator: Authenticator, **_: Any) -> None:
    _by_themselves(user, action="user.second_factor_removed", kind=authenticator.type)


@receiver(authenticator_reset)
def factor_renewed(user: User, authenticator: Authenticator, **_: Any) -> None:
    _by_themselves(user, action="user.second_factor_renewed", kind=authenticator.type)


@receiver(authentication_failed)
def factor_refused(
    user: User, authenticator: Authenticator, reauthentication: bool = False, **_: Any
) -> None:
    """With the right password before it; nobody is signed in yet, but where it was asked for once more."""
    by = Who(user.pk if reauthentication else None, "browser")
    facts = {"second_factor": authenticator.type}
    audit_of_user(user=user, by=by, action="user.sign_in_failed", facts=facts)


@receiver(user_signed_up)
def account_made(user: User, sociallogin: Any = None, **_: Any) -> None:
    _by_themselves(user, action="user.created", **_provider(sociallogin))


@receiver(social_account_added)
def account_merged(sociallogin: Any, **_: Any) -> None:
    """An account that was there is from now on that of somebody at a provider, too."""
    _by_themselves(sociallogin.user, action="user.account_merged", **_provider(sociallogin))


def sign_in_refused(user: User, code: str) -> None:
    """A provider has shown who it is, and they are not let in."""
    audit_of_user(user=user, by=Who(None, "browser"), action="user.sign_in_failed", facts={"code": code})


def _by_themselves(user: User, *, action: str, **facts: object) -> None:
    audit_of_user(user=user, by=Who(user.pk, "browser"), action=action, facts=facts)


def _provider(sociallogin: Any) -> dict[str, object]:
    return {"provider": sociallogin.account.provider} if sociallogin is not None else {}
