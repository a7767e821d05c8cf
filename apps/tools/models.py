"""The record of tools: what the policy decided, and how each call ended.

Both tables are append-only: the application's role may add rows and read them, and no more. They name turns,
sessions and people by id alone, so that a record outlives what it is about.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from somaagent.agent.ports import Outcome
from somaagent.tenancy.fields import TenantOwned

LONGEST_REASON = 1000
# Most decisions, and most calls, are what nobody looks for: the indexes of these columns leave them out.
ALLOWED = "allow"


class Answer(models.TextChoices):
    """What became of the question whether a call may run."""

    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"


class _Kept(TenantOwned):
    """A row that the application cannot delete: a tenant with such rows goes by another way."""

    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.PROTECT, editable=False, related_name="+")

    class Meta:
        abstract = True


class ToolDecision(_Kept):
    """One decision of the policy. ``input`` is what it was asked, with secrets masked.

    ``policy`` is the digest of the policy's files; empty where no engine answered, which is a denial.
    """

    user_id = models.UUIDField()
    agent = models.CharField(max_length=63, blank=True)
    session_id = models.UUIDField(null=True)
    turn_id = models.UUIDField(null=True)
    call_id = models.CharField(max_length=64)
    tool = models.CharField(max_length=64)
    source = models.CharField(max_length=100)
    input = models.JSONField()
    effect = models.CharField(max_length=16)
    reason = models.CharField(max_length=LONGEST_REASON)
    policy = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-id"], name="tool_decision_newest"),
            models.Index(
                fields=["tenant", "effect", "-id"],
                condition=~models.Q(effect=ALLOWED),
                name="tool_decision_of_effect",
            ),
            models.Index(fields=["turn_id"], name="tool_decision_of_turn"),
        ]

    def __str__(self) -> str:
        return f"{self.effect}: {self.tool}"


class ToolCallRecord(_Kept):
    """One call of a tool that came to its end, whether it ran or not. Secrets in ``arguments`` are masked.

    ``decision_id`` is the last ``ToolDecision`` on it; a call that never came before the policy (no such
    tool, arguments that do not fit) has none. ``answer`` and ``answered_by`` say what somebody said when they
    were asked. ``result_digest`` is SHA-256 over the result's UTF-8.
    """

    user_id = models.UUIDField()
    agent = models.CharField(max_length=63, blank=True)
    session_id = models.UUIDField(null=True)
    turn_id = models.UUIDField(null=True)
    call_id = models.CharField(max_length=64)
    tool = models.CharField(max_length=64)
    source = models.CharField(max_length=100, blank=True)
    arguments = models.JSONField()
    decision_id = models.UUIDField(null=True)
    answer = models.CharField(max_length=16, choices=Answer.choices, blank=True)
    answered_by = models.UUIDField(null=True)
    edited = models.BooleanField(default=False)
    outcome = models.CharField(max_length=16, choices=[(outcome.value, outcome.value) for outcome in Outcome])
    reason = models.CharField(max_length=LONGEST_REASON, blank=True)
    started_at = models.DateTimeField(null=True)
    seconds = models.FloatField(null=True)
    result_digest = models.CharField(max_length=64, blank=True)
    result_characters = models.PositiveIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-id"], name="tool_call_newest"),
            models.Index(fields=["tenant", "tool", "-id"], name="tool_call_of_tool"),
            models.Index(fields=["tenant", "user_id", "-id"], name="tool_call_of_user"),
            models.Index(
                fields=["tenant", "outcome", "-id"],
                condition=~models.Q(outcome=Outcome.OK.value),
                name="tool_call_of_outcome",
            ),
            models.Index(fields=["decision_id"], name="tool_call_of_decision"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["turn_id", "call_id"], name="tool_call_recorded_once"),
        ]

    def __str__(self) -> str:
        return f"{self.tool}: {self.outcome}"
