"""A webhook's secrets at rest: sealed for it alone, and those from before a rotation for a while."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from somaagent.errors import Kind, SomaError

from .models import Webhook

OVERLAP = timedelta(hours=24)
_MOST_PREVIOUS = 3
PURPOSE = "webhook.secret"


def put(webhook: Webhook, secret: str) -> None:
    """Seals the webhook's first secret into its row. Raises ``secrets_unavailable``."""
    try:
        webhook.encrypted_secret = settings.SECRETS.encrypt(
            secret, tenant_id=webhook.tenant_id, purpose=PURPOSE, row_id=webhook.pk
        )
    except settings.SECRETS.Error as error:
        raise _unavailable() from error


def replace(webhook: Webhook, secret: str) -> None:
    """The same for the next one; those before sign with it until ``OVERLAP`` has passed, three at most."""
    now = timezone.now()
    before = {"sealed": webhook.encrypted_secret, "until": (now + OVERLAP).isoformat()}
    put(webhook, secret)
    webhook.previous_secrets = [before, *_valid(webhook, now)][:_MOST_PREVIOUS]


def opened(webhook: Webhook) -> list[str]:
    """What is signed with now, the newest first. Raises ``settings.SECRETS.Error``; may ask Vault."""
    sealed = [webhook.encrypted_secret, *(each["sealed"] for each in _valid(webhook, timezone.now()))]
    return [_open(webhook, each) for each in sealed]


def current(webhook: Webhook) -> str:
    """The newest secret, for its user. Raises ``secrets_unavailable``."""
    try:
        return _open(webhook, webhook.encrypted_secret)
    except settings.SECRETS.Error as error:
        raise _unavailable() from error


def _open(webhook: Webhook, sealed: str) -> str:
    secret: str = settings.SECRETS.decrypt(
        sealed, tenant_id=webhook.tenant_id, purpose=PURPOSE, row_id=webhook.pk
    )
    return secret


def _valid(webhook: Webhook, now: datetime) -> list[dict[str, str]]:
    return [each for each in webhook.previous_secrets if datetime.fromisoformat(each["until"]) > now]


def _unavailable() -> SomaError:
    return SomaError(
        Kind.UNAVAILABLE,
        "secrets_unavailable",
        "The secret cannot be sealed or opened now, because Vault does not answer as it should. Try again.",
        retry_after=5,
    )
