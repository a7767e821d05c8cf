"""The operators' lists of webhooks and their deliveries."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from somaagent.tenancy.admin import ReadOnlyAdmin

from .models import Webhook, WebhookDelivery

STATE_COLOURS = {"enabled": "success", "failing": "warning", "disabled": "danger"}
DELIVERY_COLOURS = {"pending": "info", "delivered": "success", "failed": "danger"}


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ("url", "user", "state_label", "events", "disabled_reason", "created_at")
    list_filter = ("enabled", "disabled_reason")
    list_select_related = ("user",)
    search_fields = ("id__exact", "url", "user__username")
    date_hierarchy = "created_at"
    fields = (
        "id", "user", "url", "events", "enabled", "failing_since", "disabled_at", "disabled_reason",
        "created_at",
    )  # fmt: skip
    readonly_fields = fields

    @display(description="State", label=STATE_COLOURS)
    def state_label(self, webhook: Webhook) -> str:
        if not webhook.enabled:
            return "disabled"
        return "failing" if webhook.failing_since else "enabled"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """Without the payload: it repeats what a user and an agent said."""

    list_display = (
        "id", "event", "state_label", "webhook", "attempts", "last_status", "last_error", "next_attempt_at",
    )  # fmt: skip
    list_filter = ("state", "event", "last_error")
    list_select_related = ("webhook",)
    search_fields = ("id__exact", "turn__id__exact", "webhook__url")
    date_hierarchy = "created_at"
    fields = (
        "id", "webhook", "turn", "event", "state", "attempts", "next_attempt_at", "last_attempt_at",
        "last_status", "last_error", "last_seconds", "created_at",
    )  # fmt: skip
    readonly_fields = fields

    @display(description="State", ordering="state", label=DELIVERY_COLOURS)
    def state_label(self, delivery: WebhookDelivery) -> str:
        return delivery.state
