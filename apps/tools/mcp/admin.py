"""The operators' list and form of MCP servers, and the state of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import action, display

from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.resilience.operators import breaker_close
from somaagent.tenancy.admin import ReadOnlyAdmin, TenantOwnedAdmin

from . import lists, services, state
from .admin_forms import McpServerForm
from .models import McpServer, McpToken
from .servers import of_row
from .state import Known

MOST_READ = 5
STATE_COLOURS = {"well": "success", "not asked yet": "info", "disabled": "warning", "not known": "warning"}
KEY = (
    "The key, or with OAuth the client secret: type it, and it is sealed with a key of Vault's and never "
    "shown again; or choose the name of one that Vault keeps, for example mcp/github, and set it on the "
    "server with: manage.py secret set mcp/github."
)
TRUST = (
    "What a server tells is written by somebody outside. Its tools run only after approval unless you say "
    "otherwise here or in the policy."
)

logger = structlog.get_logger(__name__)


@admin.register(McpServer)
class McpServerAdmin(TenantOwnedAdmin):
    form = McpServerForm
    list_display = (
        "name", "slug", "url", "authentication", "needs_approval", "state_label", "tool_count", "read_at",
    )  # fmt: skip
    list_filter = ("enabled", "authentication", "risk")
    search_fields = ("name", "slug", "url", "id__exact")
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("last_list", "last_error", "created_at")
    actions = ("read_tools",)
    fieldsets = (
        (None, {"fields": (("name", "slug"), "url", "enabled")}),
        (
            "How it knows us",
            {
                "fields": ("authentication", "own_secret", "remove_own_secret", "secret_name", "key_header"),
                "description": KEY,
            },
        ),
        ("OAuth", {"fields": ("token_url", ("client_id", "scope"), "refresh_token")}),
        (
            "How far it is trusted",
            {"fields": (("needs_approval", "risk"), "trusts_annotations"), "description": TRUST},
        ),
        ("Limits", {"fields": (("connect_seconds", "call_seconds"), ("most_tools", "most_characters"))}),
        ("Its tools", {"fields": ("last_list", "last_error", "created_at")}),
    )

    def save_model(self, request: HttpRequest, obj: McpServer, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changed = set(form.changed_data)
        if changed & {"own_secret", "remove_own_secret"}:
            changed.add("encrypted_secret")
        services.mcp_server_changed(server=obj, fields=frozenset(changed))
        token = form.cleaned_data.get("refresh_token")
        if not token:
            return
        try:
            services.mcp_token_put(server=obj, refresh_token=token)
        except settings.SECRETS.Error as error:
            messages.error(request, f"The refresh token cannot be kept now: {error}")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, with what is known of its rows, asked for all at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        for row, known in zip(changelist.result_list, _known(changelist.result_list), strict=True):
            row.known = known
        return changelist

    @display(description="State", label=STATE_COLOURS)
    def state_label(self, row: Any) -> str:
        known: Known | None = row.known
        if not row.enabled:
            return "disabled"
        if known is None:
            return "not known"
        return known.label

    @display(description="Tools")
    def tool_count(self, row: Any) -> str:
        known: Known | None = row.known
        return "–" if known is None or known.tools is None else str(len(known.tools))

    @display(description="Last read")
    def read_at(self, row: Any) -> str:
        return _moment(row.known.read_at if row.known else None)

    @display(description="Its tools as it told them last")
    def last_list(self, row: McpServer) -> str:
        (known,) = _known([row])
        if known is None or known.tools is None:
            return "–"
        named = ", ".join(tool.name for tool in known.tools) or "none"
        return "\n".join([f"{_moment(known.read_at)}: {named}", *known.remarks])

    @display(description="Why it failed last")
    def last_error(self, row: McpServer) -> str:
        (known,) = _known([row])
        return f"{_moment(known.failed_at)}: {known.error}" if known and known.error else "–"

    @action(description=f"Read the tools of the chosen servers now (at most {MOST_READ})")
    def read_tools(self, request: HttpRequest, rows: QuerySet[McpServer]) -> None:
        for row in rows[:MOST_READ]:
            server = of_row(row)
            try:
                breaker_close(server.breaker)
                run_coroutine(lists.read(server))
                (known,) = state.known_blocking([server])
            except SomaError as error:
                messages.error(request, f"{row.name}: {error.message}")
            except valkey.ERRORS:
                messages.error(request, f"{row.name}: Valkey, which keeps the lists, does not answer.")
                return
            else:
                notes = f" Not all was taken: {' '.join(known.remarks)}" if known.remarks else ""
                messages.success(request, f"{row.name}: {len(known.tools or ())} tools.{notes}")


def _known(rows: Sequence[McpServer]) -> list[Known | None]:
    """None for each where Valkey does not answer."""
    try:
        return list(state.known_blocking([of_row(row) for row in rows]))
    except valkey.ERRORS as error:
        logger.warning("mcp.lists_not_known", reason=str(error))
        return [None for _ in rows]


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


@admin.register(McpToken)
class McpTokenAdmin(ReadOnlyAdmin):
    """When tokens were refreshed and why not; of the tokens themselves nothing is shown."""

    list_display = ("server", "version", "expires_at", "failed_at", "error")
    list_select_related = ("server",)
    search_fields = ("server__name", "server__slug", "id__exact", "error")
    fields = ("id", "server", "version", "expires_at", "refreshing_until", "failed_at", "error", "created_at")
    readonly_fields = fields
