"""The audit's tables. Nobody writes to them but the function that ``chain`` describes."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from django.db import models

from somaagent.tenancy.fields import TenantOwned


class AuditEntry(TenantOwned):
    """One thing that somebody did. It names people and things by id, so that it outlives them.

    ``number`` counts a tenant's entries from 1, without gaps. ``user_id`` is null where nobody was signed in.
    ``facts_text`` is JSON with secrets masked, as the digest covers it. ``digest`` is SHA-256, see ``chain``.
    """

    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.PROTECT, editable=False, related_name="+")
    number = models.BigIntegerField()
    user_id = models.UUIDField(null=True)
    via = models.CharField(max_length=16)
    request_id = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=100)
    target_type = models.CharField(max_length=64, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    facts_text = models.TextField()
    digest = models.BinaryField(max_length=32)

    class Meta:
        verbose_name_plural = "audit entries"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-id"], name="audit_entry_newest"),
            models.Index(fields=["tenant", "action", "-id"], name="audit_entry_of_action"),
            models.Index(fields=["tenant", "user_id", "-id"], name="audit_entry_of_user"),
            models.Index(fields=["tenant", "target_id", "-id"], name="audit_entry_of_target"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "number"], name="audit_entry_number_once")
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.action}"

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.facts_text)
        return found


class AuditHead(TenantOwned):
    """How far a tenant's chain goes: number and digest of its last entry. Its lock orders who writes."""

    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.PROTECT, editable=False, related_name="+")
    number = models.BigIntegerField()
    digest = models.BinaryField(max_length=32)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant"], name="audit_head_once")]

    def __str__(self) -> str:
        return f"{self.number}: {bytes(self.digest).hex()}"
