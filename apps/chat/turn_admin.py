"""The operators' list of turns: which are stuck, and what can be done to them, each after a confirmation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display

from somaagent.agent.messages import decimal_text
from somaagent.errors import SomaError
from somaagent.tenancy.admin import ReadOnlyAdmin, operator_of
from somaagent.tenancy.audit.entries import Who

from . import intervening, oversight
from .models import Turn

STATE_COLOURS = {
    "queued": "info",
    "running": "info",
    "awaiting_approval": "info",
    "completed": "success",
    "failed": "danger",
    "cancelled": "warning",
    "queued, stuck": "danger",
    "running, stuck": "danger",
}
MOST_AT_ONCE = 100
CONFIRMED = "confirmed"
INTERVENES = "chat.change_turn"
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to turns: what is asked before it, what its button says, and what is told after it."""

    question: str
    explained: str
    button: str
    done: str
    act: Callable[..., Turn]


CANCEL = Deed(
    "Cancel these turns?",
    "A turn that a host works at stops as soon as that host hears of it; one that nobody works at, at once. "
    "What it has said so far stays, and it can be answered again.",
    "Cancel them",
    "Asked to stop",
    intervening.turn_cancel,
)
RETRY = Deed(
    "Answer these turns again?",
    "Each becomes a new turn on the same message, of the user who wrote it, by their budgets. Its answer is "
    "the one that their conversation goes on with.",
    "Answer them again",
    "To be answered again",
    intervening.turn_retry,
)
HAND_OVER = Deed(
    "Have a worker take these turns now?",
    "What the scheduler's sweep does every few seconds to turns that nobody works at, is done at once. Turns "
    "that a host works at are left alone.",
    "Hand them over",
    "Handed over",
    intervening.turn_hand_over,
)


class StuckFilter(admin.SimpleListFilter):
    title = "stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Nobody works at it")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Turn]) -> QuerySet[Turn]:
        return oversight.only_stuck(queryset) if self.value() == "yes" else queryset


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "state_label",
        "user",
        "session",
        "seconds",
        "tokens",
        "paid",
        "error_code",
        "created_at",
    )
    list_filter = (StuckFilter, "state", "error_code")
    list_select_related = ()
    search_fields = ("id__exact", "session__title", "user__username", "error_code", "error_message")
    date_hierarchy = "created_at"
    actions = ("cancel_turns", "retry_turns", "hand_over_turns")
    actions_detail = ("cancel_this", "retry_this", "hand_over_this")
    readonly_fields = ("stuck", "record")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id", "state", "stuck", "attempt", "session", "user", "input_message", "output_message",
                )
            },
        ),
        ("Error", {"fields": ("error_code", "error_message", "error_retryable")}),
        (
            "Tokens and cost",
            {"fields": (("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), "paid")},
        ),
        (
            "Times",
            {
                "fields": (
                    "created_at", "queued_at", "started_at", "finished_at", "cancel_requested_at",
                    "approvals_expire_at",
                )
            },
        ),
        ("Host", {"fields": ("lease_owner", "lease_expires_at", "hosts_lost", "last_event")}),
        ("Record", {"fields": ("record",)}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        del request
        return oversight.turns_of_everybody()

    def has_intervene_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether they may do something to others' turns: rows themselves are only read here."""
        del obj
        return operator_of(request) is not None and request.user.has_perm(INTERVENES)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, turn: Turn) -> str:
        return f"{turn.state}, stuck" if oversight.stuck_because(turn) else turn.state

    @display(description="Stuck")
    def stuck(self, turn: Turn) -> str:
        return oversight.stuck_because(turn) or "No."

    @display(description="Seconds")
    def seconds(self, turn: Turn) -> str:
        if turn.finished_at is None:
            return NOTHING
        return f"{(turn.finished_at - turn.created_at).total_seconds():.1f}"

    @display(description="Tokens in / out")
    def tokens(self, turn: Turn) -> str:
        return f"{turn.input_tokens} / {turn.output_tokens}"

    @display(description="Cost", ordering="cost")
    def paid(self, turn: Turn) -> str:
        return decimal_text(turn.cost) or NOTHING

    @display(description="On record")
    def record(self, turn: Turn) -> str:
        links = [
            (reverse(f"admin:{name}_changelist"), turn.pk, text)
            for name, text in (
                ("chat_step", "steps"),
                ("tools_tooldecision", "decisions"),
                ("tools_toolcallrecord", "calls of tools"),
            )
        ]
        written = [format_html('<a class="underline" href="{}?q={}">{}</a>', *link) for link in links]
        return format_html("{}, {}, {}", *written)

    @action(description="Cancel the chosen turns", permissions=["intervene"])
    def cancel_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse:
        return self._confirmed(request, CANCEL, "cancel_turns", list(turns[: MOST_AT_ONCE + 1]))

    @action(description="Answer the chosen turns again", permissions=["intervene"])
    def retry_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse:
        return self._confirmed(request, RETRY, "retry_turns", list(turns[: MOST_AT_ONCE + 1]))

    @action(description="Have a worker take the chosen turns now", permissions=["intervene"])
    def hand_over_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse:
        return self._confirmed(request, HAND_OVER, "hand_over_turns", list(turns[: MOST_AT_ONCE + 1]))

    @action(description="Cancel", permissions=["intervene"], icon="cancel")
    def cancel_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._asked(request, CANCEL, "cancel_turns", self._one(object_id))

    @action(description="Answer again", permissions=["intervene"], icon="replay")
    def retry_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._asked(request, RETRY, "retry_turns", self._one(object_id))

    @action(description="Hand over", permissions=["intervene"], icon="move_up")
    def hand_over_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._asked(request, HAND_OVER, "hand_over_turns", self._one(object_id))

    def _one(self, object_id: str) -> list[Turn]:
        try:
            return list(oversight.turns_of_everybody().filter(pk=object_id))
        except ValidationError:
            return []

    def _confirmed(self, request: HttpRequest, deed: Deed, name: str, turns: list[Turn]) -> HttpResponse:
        """Do it where it was confirmed, else ask first."""
        if len(turns) > MOST_AT_ONCE:
            messages.error(request, f"Choose {MOST_AT_ONCE} turns at most.")
            return redirect("admin:chat_turn_changelist")
        if CONFIRMED not in request.POST:
            return self._asked(request, deed, name, turns)
        operator = operator_of(request)
        if operator is None:
            raise PermissionDenied
        _each(request, deed, Who(operator.user_id, "admin"), [turn.id for turn in turns])
        if len(turns) == 1:
            return redirect("admin:chat_turn_change", turns[0].pk)
        return redirect("admin:chat_turn_changelist")

    def _asked(self, request: HttpRequest, deed: Deed, name: str, turns: Sequence[Turn]) -> HttpResponse:
        """The page that asks. Its form is the list's own, with the same turns and the confirmation."""
        rows = [(turn, self.state_label(turn), oversight.stuck_because(turn)) for turn in turns]
        context = {
            **self.admin_site.each_context(request),
            "title": deed.question,
            "opts": self.model._meta,  # noqa: SLF001 Django's documented model API
            "deed": deed,
            "rows": [(turn, state, STATE_COLOURS[state], why) for turn, state, why in rows],
            "action_name": name,
            "chosen_name": helpers.ACTION_CHECKBOX_NAME,
            "confirmed_name": CONFIRMED,
        }
        return TemplateResponse(request, "chat/turns_confirm.html", context)


def _each(request: HttpRequest, deed: Deed, by: Who, turn_ids: Sequence[UUID]) -> None:
    """Tell of how many it was done, and of each that it could not be done to."""
    done = 0
    for turn_id in turn_ids:
        try:
            with transaction.atomic():
                turn = deed.act(by=by, turn_id=turn_id)
        except SomaError as error:
            messages.error(request, f"{turn_id}: {error.message}")
            continue
        if deed is CANCEL and turn.cancel_requested_at is None:
            messages.warning(request, f"{turn_id}: It was over already.")
            continue
        done += 1
    if done:
        messages.success(request, f"{deed.done}: {done}.")
