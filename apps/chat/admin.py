"""The operators' list of turns, and the trial of a model profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from unfold.decorators import action, display

from apps.sessions.admin import ModelProfileAdmin
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.tenancy.admin import ReadOnlyAdmin

from .models import Step, Turn
from .trial import try_model

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

STATE_COLOURS = {
    "queued": "info",
    "running": "info",
    "completed": "success",
    "failed": "danger",
    "cancelled": "warning",
}
MOST_TRIED = 5


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = ("id", "state_label", "user", "session", "seconds", "tokens", "error_code", "created_at")
    list_filter = ("state", "error_code")
    list_select_related = ("user", "session")
    search_fields = ("id__exact", "session__title", "user__username", "error_code", "error_message")
    date_hierarchy = "created_at"
    fieldsets = (
        (None, {"fields": ("id", "state", "attempt", "session", "user", "input_message", "output_message")}),
        ("Error", {"fields": ("error_code", "error_message", "error_retryable")}),
        ("Tokens", {"fields": (("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),)}),
        (
            "Times",
            {"fields": ("created_at", "started_at", "finished_at", "cancel_requested_at")},
        ),
        ("Host", {"fields": ("lease_owner", "lease_expires_at", "last_event"), "classes": ("collapse",)}),
    )

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, turn: Turn) -> str:
        return turn.state

    @display(description="Seconds")
    def seconds(self, turn: Turn) -> str:
        if turn.finished_at is None:
            return "–"
        return f"{(turn.finished_at - turn.created_at).total_seconds():.1f}"

    @display(description="Tokens in / out")
    def tokens(self, turn: Turn) -> str:
        return f"{turn.input_tokens} / {turn.output_tokens}"


@admin.register(apps.get_model("agent_sessions", "ModelProfile"))
class TriableModelProfileAdmin(ModelProfileAdmin):
    """Model profiles, with a button that asks the model for a word."""

    actions = ("test_models",)
    actions_submit_line = ("save_and_test",)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        # Unfold shows the button where a profile is changed; here it stands where one is made as well.
        buttons = {"actions_submit_line": self.get_actions_submit_line(request, object_id)}
        return super().changeform_view(request, object_id, form_url, buttons | (extra_context or {}))

    def response_post_save_add(self, request: HttpRequest, obj: ModelProfile) -> Any:
        return self._form_again(request, obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: ModelProfile) -> Any:
        return self._form_again(request, obj) or super().response_post_save_change(request, obj)

    def _form_again(self, request: HttpRequest, profile: ModelProfile) -> Any:
        """After a trial the form stays, to mend what the trial found."""
        if any(name.endswith("save_and_test") for name in request.POST):
            return redirect("admin:agent_sessions_modelprofile_change", profile.pk)
        return None

    @action(description="Save and test this model")
    def save_and_test(self, request: HttpRequest, obj: ModelProfile) -> None:
        _try(request, obj)

    @action(description=f"Test the chosen models (at most {MOST_TRIED})")
    def test_models(self, request: HttpRequest, profiles: QuerySet[Any]) -> None:
        for profile in profiles[:MOST_TRIED]:
            _try(request, profile)


def _try(request: HttpRequest, profile: ModelProfile) -> None:
    try:
        messages.success(request, f"{profile.name}: {run_coroutine(try_model(profile))}")
    except SomaError as error:
        messages.error(request, f"{profile.name} did not answer. {error.message}")


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    list_display = ("id", "turn", "number", "version", "created_at")
    list_select_related = ("turn",)
    search_fields = ("id__exact", "turn__id__exact")
    fields = ("id", "turn", "number", "version", "data", "created_at")
    readonly_fields = fields
