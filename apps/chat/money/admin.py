"""The operators' list of the ledger."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from somaagent.agent.messages import decimal_text
from somaagent.tenancy.admin import ReadOnlyAdmin
from somaagent.tenancy.ledger.models import UsageRecord


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
