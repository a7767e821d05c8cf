"""The operators' list of domain events: what was published, and what waits."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html
from unfold.decorators import display

from somaagent.tenancy.admin import ReadOnlyAdmin

from .models import OutboxEvent


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "type", "subject", "position", "published_at")
    list_filter = ("type", ("published_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("type", "subject", "id__exact")
    readonly_fields = ("data_written",)
    fields = ("id", "created_at", "type", "subject", "position", "published_at", "data_written")

    @display(description="Data")
    def data_written(self, event: OutboxEvent) -> str:
        text = json.dumps(event.data, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap break-all">{}</pre>', text)
