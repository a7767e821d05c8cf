"""The operators' list of the audit: to be read and searched."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.decorators import display

from somaagent.tenancy.admin import ReadOnlyAdmin

from .models import AuditEntry

# Actions to choose from are those of the newest entries: to look through all takes too long.
NEWEST = 2_000
NOTHING = "–"


class ActionFilter(admin.SimpleListFilter):
    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = AuditEntry.objects.order_by("-id").values_list("action", flat=True)[:NEWEST]
        found = set(newest) | {chosen for chosen in (request.GET.get("action"),) if chosen}
        return [(action, action) for action in sorted(found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        chosen = self.value()
        return queryset.filter(action=chosen) if chosen else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "number", "user_name", "via", "action", "target_type", "target_id")
    list_filter = (ActionFilter, "via", "target_type", "created_at")
    search_fields = ("action", "user_name", "target_id", "request_id", "facts_text", "id__exact")
    date_hierarchy = "created_at"
    readonly_fields = ("user_name", "facts_written", "digest_written")
    fieldsets = (
        (None, {"fields": ("id", "created_at", "number", "action", "target_type", "target_id")}),
        ("Who", {"fields": ("user_name", "via", "request_id")}),
        ("Facts, with secrets masked", {"fields": ("facts_written",)}),
        ("Chain", {"fields": ("digest_written",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        names = get_user_model().objects.filter(pk=OuterRef("user_id")).values("username")[:1]
        entries: QuerySet[AuditEntry] = super().get_queryset(request)
        return entries.annotate(user_name=Subquery(names))

    @display(description="User", ordering="user_name")
    def user_name(self, entry: Any) -> str:
        return entry.user_name or str(entry.user_id or NOTHING)

    @display(description="Facts")
    def facts_written(self, entry: AuditEntry) -> str:
        text = json.dumps(entry.facts, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap break-all">{}</pre>', text)

    @display(description="SHA-256")
    def digest_written(self, entry: AuditEntry) -> str:
        return bytes(entry.digest).hex()
