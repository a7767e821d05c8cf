"""The operators' list of steps, and the trial of a model profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog
from django.apps import apps
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from unfold.decorators import action, display

from apps.sessions.admin import ModelProfileAdmin
from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.money import decimal_text
from somaagent.resilience.operators import breaker_close, breaker_states
from somaagent.tenancy.admin import ReadOnlyAdmin
from somaagent.tenancy.audit.audited import audit_by_operator

from .guards import breaker_name
from .models import Step
from .money import admin as money_admin  # noqa: F401 Django looks for an app's admin in this module alone
from .schedules import admin as _schedules  # noqa: F401 as above
from .trial import try_model
from .turn_admin import TurnAdmin  # noqa: F401 as above
from .webhooks import admin as webhook_admin  # noqa: F401 it registers itself

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

MOST_TRIED = 5
BREAKER_COLOURS = {"closed": "success", "half-open": "warning", "open": "danger", "not known": "warning"}

logger = structlog.get_logger(__name__)


@admin.register(apps.get_model("agent_sessions", "ModelProfile"))
class TriableModelProfileAdmin(ModelProfileAdmin):
    """Model profiles, with a button that asks the model for a word."""

    list_display: tuple[str, ...] = (*ModelProfileAdmin.list_display, "breaker")
    actions = ("test_models", "close_breakers")
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

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, with the breakers of its rows, asked for all at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        states = _breaker_states(changelist.result_list)
        for profile in changelist.result_list:
            profile.breaker_shown = states[profile.pk]
        return changelist

    @display(description="Breaker", label=BREAKER_COLOURS)
    def breaker(self, profile: Any) -> str:
        shown: str = profile.breaker_shown
        return shown

    @action(description="Close the breaker: let the chosen models be asked again")
    def close_breakers(self, request: HttpRequest, profiles: QuerySet[Any]) -> None:
        for profile in profiles:
            try:
                changed = breaker_close(breaker_name(profile))
            except valkey.ERRORS:
                messages.error(request, f"{profile.name}: Valkey, which keeps the breaker, does not answer.")
                return
            if changed:
                audit_by_operator(
                    request,
                    action="breaker.closed",
                    target_type="model_profile",
                    target_id=profile.pk,
                    facts={"name": profile.name},
                )
            messages.success(
                request, f"{profile.name}: " + ("closed." if changed else "its breaker was closed already.")
            )

    @action(description="Save and test this model")
    def save_and_test(self, request: HttpRequest, obj: ModelProfile) -> None:
        _try(request, obj)

    @action(description=f"Test the chosen models (at most {MOST_TRIED})")
    def test_models(self, request: HttpRequest, profiles: QuerySet[Any]) -> None:
        for profile in profiles[:MOST_TRIED]:
            _try(request, profile)


def _breaker_states(profiles: Sequence[Any]) -> dict[Any, str]:
    """By profile: the state of its breaker, ``off``, or ``not known`` where Valkey does not answer."""
    names = {profile.pk: breaker_name(profile) for profile in profiles if profile.breaker_failures}
    try:
        states = breaker_states(list(names.values()))
    except valkey.ERRORS as error:
        logger.warning("breakers.not_known", reason=str(error))
        return {profile.pk: "not known" if profile.pk in names else "off" for profile in profiles}
    return {profile.pk: states[names[profile.pk]] if profile.pk in names else "off" for profile in profiles}


def _try(request: HttpRequest, profile: ModelProfile) -> None:
    try:
        messages.success(request, f"{profile.name}: {run_coroutine(try_model(profile))}")
    except SomaError as error:
        messages.error(request, f"{profile.name} did not answer. {error.message}")


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    list_display = ("id", "turn", "number", "paid", "version", "created_at")
    list_select_related = ("turn",)
    search_fields = ("id__exact", "turn__id__exact")
    fields = ("id", "turn", "number", "version", "paid", "data", "created_at")
    readonly_fields = fields

    @display(description="Cost", ordering="cost")
    def paid(self, step: Step) -> str:
        return decimal_text(step.cost) or "–"
