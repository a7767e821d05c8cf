"""Turns."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.tools.models import Answer
from somaagent.agent.messages import Usage
from somaagent.tenancy.fields import IdempotentCreate, TenantOwned, tenant_without_index


class TurnState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _cost(help_text: str) -> models.DecimalField[Any, Any]:
    """Twelve places: a price for a million tokens has six, and a token costs a millionth of it."""
    return models.DecimalField(max_digits=24, decimal_places=12, null=True, blank=True, help_text=help_text)


OPEN_STATES = [TurnState.QUEUED, TurnState.RUNNING, TurnState.AWAITING_APPROVAL]
HOSTED_STATES = [TurnState.QUEUED, TurnState.RUNNING]
# All but the state of most: what operators look for among many.
SOUGHT_STATES = [*OPEN_STATES, TurnState.FAILED, TurnState.CANCELLED]


class OnBusy(models.TextChoices):
    """What becomes of an input to a session with an open turn: refused, answered after it or in its place."""

    REJECT = "reject"
    QUEUE = "queue"
    INTERRUPT = "interrupt"


class Turn(TenantOwned, IdempotentCreate):
    """One user input up to the final answer. The row is the truth; events and jobs carry its id.

    Of a session's turns one runs; those that are queued wait for it, oldest first.

    While it runs, ``lease_owner`` is the process that runs it, until ``lease_expires_at``, which it
    keeps moving on. A lease that ran out means that the process is gone; ``hosts_lost`` counts those.

    ``begun`` is the step whose calls of tools are not all done (the engine's ``step.answered``); ``calls``
    say how far each is. While some of them wait for approval and none runs, nobody has the turn.
    """

    tenant = tenant_without_index(by_parent=True)
    # Without an index of its own: ``turn_of_session`` begins with it.
    session = models.ForeignKey(
        "agent_sessions.Session", on_delete=models.CASCADE, related_name="turns", db_index=False
    )
    # Nor this one: ``turn_submitted_once`` begins with it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    api_key_id = models.UUIDField(null=True, editable=False, help_text="The key that submitted it, if one.")
    input_message = models.ForeignKey("agent_sessions.Message", on_delete=models.CASCADE, related_name="+")
    output_message = models.OneToOneField(
        "agent_sessions.Message", on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    attempt = models.SmallIntegerField(default=0)
    state = models.CharField(max_length=24, choices=TurnState.choices, default=TurnState.QUEUED)
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    error_retryable = models.BooleanField(default=False)
    input_tokens = models.IntegerField(default=0)
    cached_tokens = models.IntegerField(default=0)
    output_tokens = models.IntegerField(default=0)
    reasoning_tokens = models.IntegerField(default=0)
    cost = _cost("What its steps cost. Empty: not known, because a price is missing.")
    request = models.JSONField(
        null=True,
        editable=False,
        help_text="How its caller wants it answered, where they said.",
    )
    begun = models.JSONField(null=True, editable=False)
    approvals_expire_at = models.DateTimeField(null=True, blank=True)
    # The database has a default too: rows are made by older code while a new version is rolled out.
    hosts_lost = models.SmallIntegerField(default=0, db_default=0)
    last_event = models.IntegerField(
        default=0, help_text="The number of its final event, or of its last one before it was paused."
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["session", "-id"], name="turn_of_session"),
            models.Index(fields=["tenant", "user", "-id"], name="turn_of_user"),
            models.Index(fields=["tenant", "-id"], name="turn_newest"),
            models.Index(
                fields=["tenant", "state", "-id"],
                condition=models.Q(state__in=SOUGHT_STATES),
                name="turn_of_state",
            ),
            # Each index is entered twice by a turn: this one is for those that are open, and for those that
            # no host ever took.
            models.Index(
                fields=["session", "id"],
                condition=models.Q(state__in=OPEN_STATES) | models.Q(started_at__isnull=True),
                name="turn_waiting_of_session",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "tenant", "idempotency_key"], name="turn_submitted_once"),
            models.UniqueConstraint(
                fields=["session"],
                condition=models.Q(state=TurnState.RUNNING),
                name="turn_one_running_a_session",
            ),
        ]

    def __str__(self) -> str:
        return f"Turn {self.id} ({self.state})"

    @property
    def usage(self) -> Usage:
        """The sum of its steps."""
        return Usage(
            self.input_tokens, self.cached_tokens, self.output_tokens, self.reasoning_tokens, self.cost
        )


class Step(TenantOwned):
    """One model call of a turn and its tool calls, when they are done: who takes over goes on after it.

    ``data`` is the engine's ``step.completed`` in the form that ``version`` names.
    """

    tenant = tenant_without_index(by_parent=True)
    # Without an index of its own: ``step_once`` begins with it.
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="steps", db_index=False)
    number = models.SmallIntegerField()
    version = models.SmallIntegerField()
    data = models.JSONField()
    cost = _cost("At the prices of its time. Empty: not known.")

    class Meta:
        ordering: ClassVar = ["turn", "number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["turn", "number"], name="step_once")]

    def __str__(self) -> str:
        return f"Step {self.number} of {self.turn_id}"


class CallState(models.TextChoices):
    """How far a call of a tool is."""

    AWAITING = "awaiting"
    RUNNING = "running"
    DONE = "done"


class Call(TenantOwned):
    """A call of a tool that a turn's model asked for, as the turn's hosts and those who approve see it.

    ``arguments`` is JSON text as it would run; ``edited_arguments`` replace them where who approved changed
    them. A question is asked once (``asked_at``) and answered once. ``cut_short``: it was asked because a
    host stopped while the call ran, and it may have taken effect. ``outcome`` and ``result`` are of a call
    that is done.
    """

    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="calls")
    step = models.PositiveSmallIntegerField()
    call_id = models.CharField(max_length=64)
    tool = models.CharField(max_length=200)
    source = models.CharField(max_length=100, blank=True)
    decision = models.CharField(max_length=36, blank=True)
    arguments = models.TextField()
    state = models.CharField(max_length=16, choices=CallState.choices)
    risk = models.CharField(max_length=16, blank=True)
    reason = models.TextField(blank=True)
    asked_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=16, choices=Answer.choices, blank=True)
    answered_by = models.UUIDField(null=True)
    answered_role = models.CharField(max_length=16, blank=True)
    answered_at = models.DateTimeField(null=True)
    answer_reason = models.CharField(max_length=500, blank=True)
    edited_arguments = models.TextField(null=True)  # noqa: DJ001 empty text is not JSON, and no edit
    cut_short = models.BooleanField(default=False)
    outcome = models.CharField(max_length=16, blank=True)
    result = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["turn", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["turn", "call_id"], name="call_once")]

    def __str__(self) -> str:
        return f"{self.tool} ({self.state})"
