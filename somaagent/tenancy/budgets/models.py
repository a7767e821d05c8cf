"""Budgets: how much may be spent in a day or a month, and what is spent and reserved of it."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from somaagent.tenancy.fields import IdempotentCreate, TenantOwned

# Tokens, or money in whatever currency the prices have.
MOST = 1_000_000_000_000


class Covers(models.TextChoices):
    """Whose steps count."""

    TENANT = "tenant"
    USER = "user"
    API_KEY = "api_key", "API key"
    AGENT = "agent"


class Measure(models.TextChoices):
    """Input and output tokens together, or their cost."""

    TOKENS = "tokens"
    MONEY = "money"


class Period(models.TextChoices):
    """In UTC: from midnight, or from the first of the month."""

    DAY = "day"
    MONTH = "month"


class Budget(TenantOwned, IdempotentCreate):
    """So much may be spent in each period. What it covers and how it counts stays; its amount may change.

    ``subject_id`` is the user, API key or agent; empty for the tenant.
    """

    name = models.CharField(max_length=200)
    covers = models.CharField(max_length=16, choices=Covers.choices)
    subject_id = models.UUIDField(null=True, blank=True)
    measure = models.CharField(max_length=16, choices=Measure.choices)
    period = models.CharField(max_length=16, choices=Period.choices)
    amount = models.DecimalField(
        max_digits=19,
        decimal_places=6,
        validators=[MinValueValidator(0), MaxValueValidator(MOST)],
        help_text="Tokens, or money in the currency of the model profiles' prices. 0: nothing may be spent.",
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "covers", "subject_id", "measure", "period"],
                name="budget_once",
                nulls_distinct=False,
                violation_error_message="There is such a budget already: change its amount.",
            ),
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="budget_made_once"),
            models.CheckConstraint(
                condition=models.Q(covers=Covers.TENANT, subject_id__isnull=True)
                | (~models.Q(covers=Covers.TENANT) & models.Q(subject_id__isnull=False)),
                name="budget_names_its_subject",
            ),
            models.CheckConstraint(
                condition=models.Q(amount__gte=0, amount__lte=MOST), name="budget_amount_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """There are no parts of tokens."""
        if self.measure == Measure.TOKENS and self.amount is not None and self.amount % 1:
            raise ValidationError({"amount": "Tokens are counted in whole numbers."})


class BudgetCount(TenantOwned):
    """What a budget's steps have used in the period that starts on a day (UTC)."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="counts")
    starts = models.DateField()
    spent = models.DecimalField(max_digits=30, decimal_places=12, default=0)

    class Meta:
        ordering: ClassVar = ["-starts"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["budget", "starts"], name="budget_count_once")
        ]

    def __str__(self) -> str:
        return f"{self.starts}: {self.spent}"


class Reservation(TenantOwned):
    """What a run's step that is being answered may use at most, as far as that can be known before.

    A host that is alive moves ``expires_at`` on; a dead one's reservation ends by itself.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="reservations")
    run_id = models.UUIDField()
    amount = models.DecimalField(max_digits=30, decimal_places=12)
    expires_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["run_id"], name="reservation_of_run")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["budget", "run_id"], name="reservation_once")
        ]

    def __str__(self) -> str:
        return f"{self.amount} for {self.run_id}"
