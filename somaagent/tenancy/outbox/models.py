"""The outbox's tables."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from somaagent.tenancy.fields import TenantOwned, tenant_without_index


class OutboxEvent(TenantOwned):
    """One event. Made by statements alone (``statements``), in the transaction of what it tells.

    ``place`` is given by the database and says which of two was written first. ``position`` counts a tenant's
    events from 1, as they are published: null until then, and never changed after.
    """

    tenant = tenant_without_index()
    place = models.BigIntegerField(editable=False)
    type = models.CharField(max_length=64)
    subject = models.CharField(max_length=64)
    data = models.JSONField()
    position = models.BigIntegerField(null=True)
    published_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "place"],
                condition=models.Q(published_at__isnull=True),
                name="outbox_event_waiting",
            ),
            models.Index(
                fields=["tenant", "position"],
                condition=models.Q(published_at__isnull=True, position__isnull=False),
                name="outbox_event_again",
            ),
            models.Index(fields=["tenant", "created_at"], name="outbox_event_by_time"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "position"], name="outbox_event_position_once")
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class OutboxLane(TenantOwned):
    """A tenant's order. Who holds the lock on its row publishes for the tenant, and nobody else.

    ``position`` is that of the last event that got one. ``next_events`` are those whose turn it is, in order:
    they get the positions behind it, whoever publishes them.
    """

    position = models.BigIntegerField(default=0)
    next_events = ArrayField(models.UUIDField(), default=list, db_default=[])

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant"], name="outbox_lane_once")]

    def __str__(self) -> str:
        return f"up to {self.position}"
