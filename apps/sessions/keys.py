"""A tenant's own API key of a model: sealed for its profile alone, by Vault's transit engine."""

from __future__ import annotations

from django.conf import settings

from .models import ModelProfile

PURPOSE = "model_profile.api_key"


def sealed(profile: ModelProfile, key: str) -> str:
    """What ``encrypted_key`` holds for ``key``. Raises ``settings.SECRETS.Error``; may ask Vault."""
    token: str = settings.SECRETS.encrypt(
        key, tenant_id=profile.tenant_id, purpose=PURPOSE, row_id=profile.pk
    )
    return token


def opened(profile: ModelProfile) -> str:
    """The profile's own key. Raises ``settings.SECRETS.Error``; asks Vault about once an hour."""
    key: str = settings.SECRETS.decrypt(
        profile.encrypted_key, tenant_id=profile.tenant_id, purpose=PURPOSE, row_id=profile.pk
    )
    return key
