"""The operators' list of turns: which are stuck, and what can be done to them, each after a confirmation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display

from somaagent.money import decimal_text
from somaagent.tenancy.admin import ReadOnlyAdmin, operator_of
from somaagent.tenancy.audit.entries import Who
from somaagent.tenancy.confirming import ConfirmingAdmin, Question

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
INTERVENES = "chat.change_turn"
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to turns: what is asked before it, and what is told after it."""

    question: Question
    done: str
    act: Callable[..., Turn]


CANCEL = Deed(
    Question(
        "Cancel these turns?",
        "A turn that a host works at stops as soon as that host hears of it; one that nobody works at, at "
        "once. What it has said so far stays, and it can be answered again.",
        "Cancel them",
    ),
    "Asked to stop",
    intervening.turn_cancel,
)
RETRY = Deed(
    Question(
        "Answer these turns again?",
        "Each becomes a new turn on the same message, of the user who wrote it, by their budgets. Its answer "
        "is the one that their conversation goes on with.",
        "Answer them again",
    ),
    "To be answered again",
    intervening.turn_retry,
)
HAND_OVER = Deed(
    Question(
        "Have a worker take these turns now?",
        "What the scheduler's sweep does every few seconds to turns that nobody works at, is done at once. "
        "Turns that a host works at are left alone.",
        "Hand them over",
        dangerous=False,
    ),
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
class TurnAdmin(ConfirmingAdmin, ReadOnlyAdmin):
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
            {"fields": (("input_tokens", "cached_tokens"), ("output_tokens", "reasoning_tokens"), "paid")},
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

    def in_words(self, row: Turn) -> str:
        why = oversight.stuck_because(row)
        who = f"{row.user.username}, {row.session.agent.name}, {row.created_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{row.pk}: {row.state}, {who}. {why}".rstrip()

    @action(description="Cancel the chosen turns", permissions=["intervene"])
    def cancel_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse | None:
        return self._chosen(request, CANCEL, turns)

    @action(description="Answer the chosen turns again", permissions=["intervene"])
    def retry_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse | None:
        return self._chosen(request, RETRY, turns)

    @action(description="Have a worker take the chosen turns now", permissions=["intervene"])
    def hand_over_turns(self, request: HttpRequest, turns: QuerySet[Turn]) -> HttpResponse | None:
        return self._chosen(request, HAND_OVER, turns)

    @action(description="Cancel", permissions=["intervene"], icon="cancel")
    def cancel_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._this(request, CANCEL, object_id)

    @action(description="Answer again", permissions=["intervene"], icon="replay")
    def retry_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._this(request, RETRY, object_id)

    @action(description="Hand over", permissions=["intervene"], icon="move_up")
    def hand_over_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._this(request, HAND_OVER, object_id)

    def _chosen(self, request: HttpRequest, deed: Deed, turns: QuerySet[Turn]) -> HttpResponse | None:
        chosen = list(turns[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            messages.error(request, f"Choose {MOST_AT_ONCE} turns at most.")
            return None
        did = _Did(deed, _who(request))
        answer = self.confirmed(request, chosen, deed.question, did)
        did.tell(request)
        return answer

    def _this(self, request: HttpRequest, deed: Deed, object_id: str) -> HttpResponse:
        did = _Did(deed, _who(request))
        answer = self.confirmed_here(request, object_id, deed.question, did)
        did.tell(request)
        return answer


class _Did:
    """Does it to one turn after the other, and tells to how many it was done."""

    def __init__(self, deed: Deed, by: Who) -> None:
        self._deed = deed
        self._by = by
        self._done = 0

    def __call__(self, request: HttpRequest, turn: Turn) -> None:
        after = self._deed.act(by=self._by, turn_id=turn.id)
        if self._deed is CANCEL and after.cancel_requested_at is None:
            messages.warning(request, f"{turn}: It was over already.")
        else:
            self._done += 1

    def tell(self, request: HttpRequest) -> None:
        if self._done:
            messages.success(request, f"{self._deed.done}: {self._done}.")


def _who(request: HttpRequest) -> Who:
    operator = operator_of(request)
    if operator is None:
        raise PermissionDenied
    return Who(operator.user_id, "admin")
