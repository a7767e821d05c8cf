"""Whatever ends a credential, wherever it is done: open streams are looked at again."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.models import Session
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from .models import ApiKey, Membership, Tenant, User
from .standing import look_again


@receiver(post_delete, sender=ApiKey)
@receiver(post_delete, sender=Membership)
@receiver(post_delete, sender=Tenant)
@receiver(post_delete, sender=User)
def _deleted(**_: Any) -> None:
    look_again()


@receiver(post_delete, sender=Session)
def _session_ended(instance: Session, **_: Any) -> None:
    # Those that ran out are swept away by the thousand, and nobody is connected by them any more.
    if instance.expire_date > timezone.now():
        look_again()


@receiver(post_save, sender=ApiKey)
def _key_saved(instance: ApiKey, created: bool, **_: Any) -> None:
    if not created and (instance.revoked_at or instance.expires_at):
        look_again()


@receiver(post_save, sender=Membership)
def _membership_saved(created: bool, **_: Any) -> None:
    if not created:
        look_again()


@receiver(post_save, sender=User)
def _user_saved(instance: User, **_: Any) -> None:
    if not instance.is_active:
        look_again()


@receiver(post_save, sender=Tenant)
def _tenant_saved(instance: Tenant, **_: Any) -> None:
    if instance.suspended_at:
        look_again()
