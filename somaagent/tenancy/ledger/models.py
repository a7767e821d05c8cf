"""The ledger: what each call to a model used, and what that cost."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from somaagent.tenancy.fields import TenantOwned


class Source(models.TextChoices):
    """What a model was asked for: a step of a turn, one of a chat completion, or embeddings."""

    TURN = "turn"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"


def _price() -> models.DecimalField[Any, Any]:
    """For a million tokens, as on model profiles."""
    return models.DecimalField(max_digits=12, decimal_places=6, null=True)


class UsageRecord(TenantOwned):
    """One step: its tokens, the prices of its moment, its cost. Written once, with the step.

    Append-only: the application's role may add rows and read them, and no more. It names runs, people, keys
    and agents by id alone, so that it outlives them. ``run_id`` is the turn's, or, of what is no turn, an id
    of its own. ``cached_tokens`` are part of ``input_tokens``, ``reasoning_tokens`` of ``output_tokens``.
    ``cost`` is empty where a price is missing, or the server counted nothing. ``estimated``: the step was cut
    short, so that no server said what it used; the numbers are our guess.
    """

    # The application cannot delete its rows: a tenant with some goes by another way. ``usage_newest`` finds
    # them; beside an index of the tenant alone, plans would take that one and read all of a tenant's past.
    tenant = models.ForeignKey(
        "tenancy.Tenant", on_delete=models.PROTECT, editable=False, related_name="+", db_index=False
    )
    source = models.CharField(max_length=16, choices=Source.choices)
    run_id = models.UUIDField()
    step = models.SmallIntegerField()
    user_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    agent = models.CharField(max_length=63, blank=True)
    profile = models.CharField(max_length=63, blank=True)
    input_tokens = models.IntegerField(default=0)
    cached_tokens = models.IntegerField(default=0)
    output_tokens = models.IntegerField(default=0)
    reasoning_tokens = models.IntegerField(default=0)
    input_price = _price()
    cached_price = _price()
    output_price = _price()
    reasoning_price = _price()
    cost = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    estimated = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="usage_newest")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run_id", "step"], name="usage_recorded_once")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.run_id}, step {self.step}"
