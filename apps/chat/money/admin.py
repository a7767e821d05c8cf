"""The operators' lists of the ledger and of budgets, which they make and change there."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import CharField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.decorators import display

from apps.sessions import selectors as sessions
from somaagent.money import decimal_text
from somaagent.tenancy.admin import ReadOnlyAdmin, TenantOwnedAdmin
from somaagent.tenancy.budgets.models import Budget, Covers
from somaagent.tenancy.budgets.selectors import standing_of, with_standing
from somaagent.tenancy.budgets.services import budget_begin, budgets_delete
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.models import ApiKey

from .admin_forms import BudgetForm, ChangedBudgetForm

SAID_ONCE = ("whom", "subject_id", "measure", "period")
STANDING = ("used", "held", "left", "state", "begins_anew")
STATES = {"open": "success", "held by what runs": "warning", "used up": "danger"}


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "source", "user_name", "agent", "profile", "input_tokens", "output_tokens", "paid",
        "estimated",
    )  # fmt: skip
    list_filter = ("source", "estimated")
    date_hierarchy = "created_at"
    search_fields = ("agent", "profile", "user_name", "run_id__exact", "api_key_id__exact")
    readonly_fields = ("user_name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        rows: QuerySet[UsageRecord] = super().get_queryset(request)
        names = get_user_model().objects.filter(pk=OuterRef("user_id")).values("username")[:1]
        return rows.annotate(user_name=Subquery(names))

    @display(description="User", ordering="user_name")
    def user_name(self, row: UsageRecord) -> str:
        """They may be gone."""
        return str(getattr(row, "user_name", None) or row.user_id)

    @display(description="Cost", ordering="cost")
    def paid(self, row: UsageRecord) -> str:
        return decimal_text(row.cost) or "not known"


@admin.register(Budget)
class BudgetAdmin(TenantOwnedAdmin):
    """What a budget covers and how it counts is said once; its name and its amount can be changed.

    How it stands is what the API tells too (``budgets.selectors``).
    """

    form = BudgetForm
    list_display = ("name", "whom", "limit", "used", "held", "left", "state", "begins_anew")
    list_filter = ("covers", "measure", "period")
    search_fields = ("name", "subject_id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        subjects = (
            get_user_model().objects.filter(pk=OuterRef("subject_id")).values("username"),
            ApiKey.objects.filter(pk=OuterRef("subject_id")).values("name"),
            sessions.agent_list().filter(pk=OuterRef("subject_id")).order_by().values("name"),
        )
        named = Coalesce(*(Subquery(each[:1], output_field=CharField()) for each in subjects))
        return with_standing(super().get_queryset(request)).annotate(subject_name=named)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            kwargs["form"] = ChangedBudgetForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        if obj is None:
            return ("name", "whom", "measure", "period", "amount")
        return ("name", "amount", *SAID_ONCE, *STANDING)

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        return (*SAID_ONCE, *STANDING) if obj else ()

    @display(description="Covers", ordering="covers")
    def whom(self, budget: Any) -> str:
        """The subject may be gone."""
        if budget.subject_id is None:
            return "the whole tenant"
        return f"{Covers(budget.covers).label}: {budget.subject_name or budget.subject_id}"

    @display(description="Amount", ordering="amount")
    def limit(self, budget: Budget) -> str:
        return f"{decimal_text(budget.amount)} {budget.measure} a {budget.period}"

    @display(description="Used")
    def used(self, budget: Budget) -> str:
        return decimal_text(standing_of(budget).spent) or "0"

    @display(description="Reserved")
    def held(self, budget: Budget) -> str:
        return decimal_text(standing_of(budget).reserved) or "0"

    @display(description="Left")
    def left(self, budget: Budget) -> str:
        return decimal_text(max(standing_of(budget).left, Decimal(0))) or "0"

    @display(description="State", label=STATES)
    def state(self, budget: Budget) -> str:
        standing = standing_of(budget)
        if standing.left > 0:
            return "open"
        return "used up" if standing.spent >= standing.amount else "held by what runs"

    @display(description="Begins anew")
    def begins_anew(self, budget: Budget) -> date:
        return standing_of(budget).ends()

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            budget_begin(obj)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        del request
        budgets_delete(budget_ids=[obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        del request
        budgets_delete(budget_ids=[budget.pk for budget in queryset])
