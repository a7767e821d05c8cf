"""What goes with a turn's row when it is deleted, whoever deletes it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from . import stream
from .models import Turn


@receiver(post_delete, sender=Turn)
def forget_events(instance: Turn, **_: Any) -> None:
    """Delete the turn's events and stop its host, once the deletion is certain."""
    turn_id, owner = instance.pk, instance.lease_owner
    # Robust: the row is gone by then, and events that could not be deleted expire by themselves.
    transaction.on_commit(lambda: stream.forget(turn_id, owner), robust=True)
