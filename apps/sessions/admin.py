"""The operators' forms and lists of model profiles, agents, sessions and messages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from somaagent.tenancy.admin import ReadOnlyAdmin, TenantOwnedAdmin

from . import agents
from .admin_forms import AgentForm, ModelProfileForm
from .models import PRICES, Agent, Message, ModelProfile, Session

WHAT = "A way to reach a model: any server that speaks the OpenAI or the Anthropic protocol, your own too."
WHERE = (
    "OpenAI-compatible: the base URL is what stands before “/chat/completions”. Ollama: "
    "http://HOST:11434/v1. llama.cpp: http://HOST:8080/v1. OpenAI: https://api.openai.com/v1. "
    "Google: https://generativelanguage.googleapis.com/v1beta/openai. "
    "Anthropic has a protocol of its own, at https://api.anthropic.com. "
    "Gemini, Groq and Mistral in theirs: leave the base URL empty, and write the model as google:NAME, "
    "groq:NAME or mistral:NAME."
)
KEY = (
    "Either type the key: it is sealed with a key of Vault's and never shown again. Or choose the name of "
    "one that Vault keeps, for example models/openai, and set it on the server with: manage.py secret set "
    "models/openai (it asks for the key). Leave both empty for a server that needs none."
)
FAILS = (
    "It is asked again when it is busy (429), failing (5xx) or cannot be reached. When that did not help, or "
    "would not, the fallback answers in its place, and its own fallback after it."
)
KEEPS_FAILING = (
    "A model that cannot be reached, is silent, fails (5xx), breaks off or makes no sense, several times in "
    "a row, is left alone for a while: its circuit breaker is open, and its fallback answers at once. "
    "Refused requests and keys, and 429, do not count."
)
FITS = (
    "A conversation that outgrows the context window goes on with a summary of its older messages. While the "
    "window is not known, that happens only when the server refuses a request as too long. Some servers, "
    "Ollama for one, drop what does not fit and say nothing."
)
COSTS = (
    "In the currency in which you pay, the same for all profiles: costs are added up. A step costs what the "
    "prices say at its moment. Empty cached and reasoning prices: as input and output. An empty input or "
    "output price: the cost is not known."
)


class ModelProfileAdmin(TenantOwnedAdmin):
    """How to reach a model. ``apps.chat`` registers it, with the trial that needs a model to be asked."""

    form = ModelProfileForm
    list_display: tuple[str, ...] = ("name", "kind", "model", "base_url", "api_key", "agent_count")
    list_filter = ("kind", "protocol", "public_only")
    search_fields = ("name", "slug", "model", "base_url", "id__exact")
    prepopulated_fields = {"slug": ("name",)}
    autocomplete_fields = ("fallback",)
    readonly_fields = ("created_at",)
    fieldsets = (
        (
            None,
            {
                "fields": (("name", "slug"),),
                "description": WHAT,
            },
        ),
        ("What it gives", {"fields": (("kind", "dimensions"),)}),
        (
            "Where",
            {
                "fields": ("protocol", "base_url", "public_only", "model"),
                "description": WHERE,
            },
        ),
        (
            "Its API key",
            {
                "fields": ("own_api_key", "remove_own_api_key", "secret_name"),
                "description": KEY,
            },
        ),
        (
            "How it answers",
            {
                "fields": (
                    ("max_output_tokens", "context_tokens"),
                    ("temperature", "tool_calls"),
                    ("reasoning_effort", "thinking_tokens"),
                ),
                "description": FITS,
            },
        ),
        ("Patience, in seconds", {"fields": ("connect_seconds", "first_token_seconds", "idle_seconds")}),
        (
            "When it fails before its first token",
            {"fields": (("max_retries", "max_retry_wait_seconds"), "fallback"), "description": FAILS},
        ),
        (
            "When it keeps failing, and how often it may be asked",
            {
                "fields": (("breaker_failures", "breaker_seconds"), "requests_per_minute"),
                "description": KEEPS_FAILING,
            },
        ),
        ("Prices of a million tokens", {"fields": (PRICES[:2], PRICES[2:]), "description": COSTS}),
        ("Record", {"fields": ("created_at",), "classes": ("collapse",)}),
    )

    @display(description="API key")
    def api_key(self, profile: ModelProfile) -> str:
        """Where it is, never what it is."""
        return "Its own" if profile.encrypted_key else profile.secret_name or "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelProfile]:
        profiles: QuerySet[ModelProfile] = super().get_queryset(request)
        return profiles.annotate(agent_count=Count("agents"))

    @display(description="Agents", ordering="agent_count")
    def agent_count(self, profile: Any) -> int:
        count: int = profile.agent_count
        return count


class AgentAdmin(TenantOwnedAdmin):
    """Who answers. ``apps.admin`` registers it, which knows what tools there are."""

    form = AgentForm
    list_display = ("name", "slug", "model_profile", "is_default", "created_at")
    list_filter = ("is_default", ("model_profile", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("model_profile",)
    search_fields = ("name", "slug", "instructions")
    prepopulated_fields = {"slug": ("name",)}
    autocomplete_fields = ("model_profile",)
    fields = (("name", "slug"), "instructions", "model_profile", "tools", "is_default")

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        agents.agent_keep(obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A tenant's default agent stays: turns that name no agent are its."""
        shown, counts, missing, protected = super().get_deleted_objects(objs, request)
        default = [
            f"{agent}, the default agent: make another one it first" for agent in objs if agent.is_default
        ]
        return shown, counts, missing, [*protected, *default]


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("title_or_id", "user", "agent", "message_count", "created_at", "archived_at")
    list_filter = (("agent", admin.RelatedOnlyFieldListFilter), ("archived_at", admin.EmptyFieldListFilter))
    list_select_related = ("user", "agent")
    search_fields = ("title", "user__username", "id__exact")
    date_hierarchy = "created_at"
    fields = ("id", "title", "user", "agent", "created_at", "archived_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        sessions: QuerySet[Session] = super().get_queryset(request)
        return sessions.annotate(message_count=Count("messages"))

    @display(description="Title", ordering="title")
    def title_or_id(self, session: Session) -> str:
        return str(session)

    @display(description="Messages", ordering="message_count")
    def message_count(self, session: Any) -> int:
        count: int = session.message_count
        return count

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An operator may delete what a user asks them to."""
        return bool(super(ReadOnlyAdmin, self).has_delete_permission(request, obj))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Messages and turns go with their session, though nobody may delete one of them alone."""
        shown, counts, _, protected = super().get_deleted_objects(objs, request)
        return shown, counts, set(), protected


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("beginning", "role", "session", "complete", "created_at")
    list_filter = ("role", "complete")
    list_select_related = ("session",)
    search_fields = ("text", "session__title", "id__exact")
    date_hierarchy = "created_at"
    fields = ("id", "session", "role", "text", "complete", "summary", "created_at")

    @display(description="Text")
    def beginning(self, message: Message) -> str:
        return message.text[:100] + ("…" if len(message.text) > 100 else "")  # noqa: PLR2004 the same, said twice
