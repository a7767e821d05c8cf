"""The operators' lists of what the policy decided and how calls of tools ended: to be read and searched."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from somaagent.agent.ports import Outcome
from somaagent.tenancy.admin import ReadOnlyAdmin

from . import selectors
from .mcp import admin as mcp  # noqa: F401 Django looks for an app's admin in this module alone
from .models import ToolCallRecord, ToolDecision
from .policy.inputs import Effect

EFFECT_COLOURS = {
    Effect.ALLOW.value: "success",
    Effect.DENY.value: "danger",
    Effect.REQUIRE_APPROVAL.value: "warning",
}
OUTCOME_COLOURS = {
    outcome.value: "danger" if outcome in {Outcome.FAILED, Outcome.TIMED_OUT} else "warning"
    for outcome in Outcome
} | {Outcome.OK.value: "success"}
# Values to choose from are those of the newest rows: to look through all of a record takes too long.
NEWEST = 2_000
NOTHING = "–"


class _OfNewest(admin.SimpleListFilter):
    """Filters by a column's values. Another one than are offered can be written into the page's address."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = model_admin.model.objects.order_by("-id").values_list(self.parameter_name, flat=True)
        found = {value for value in newest[:NEWEST] if value}
        if chosen := request.GET.get(str(self.parameter_name)):
            found.add(chosen)
        return [(value, value) for value in sorted(found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(**{str(self.parameter_name): chosen}) if chosen else queryset


class ToolFilter(_OfNewest):
    title = "tool"
    parameter_name = "tool"


class SourceFilter(_OfNewest):
    title = "source"
    parameter_name = "source"


class EffectFilter(admin.SimpleListFilter):
    title = "effect"
    parameter_name = "effect"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(effect.value, effect.value) for effect in Effect]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(effect=chosen) if chosen else queryset


def _named(column: str) -> Subquery:
    """The name of the user whose id ``column`` holds; they may be gone."""
    return Subquery(get_user_model().objects.filter(pk=OuterRef(column)).values("username")[:1])


def _written(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre class="whitespace-pre-wrap break-all">{}</pre>', text)


def _link(name: str, row_id: Any, text: str = "") -> str:
    if row_id is None:
        return NOTHING
    return format_html('<a class="underline" href="{}">{}</a>', reverse(name, args=[row_id]), text or row_id)


def _links(rows: QuerySet[Any], name: str) -> str:
    links = [(_link(name, row.pk, str(row)),) for row in rows]
    return format_html_join(", ", "{}", links) or NOTHING


class _RecordAdmin(ReadOnlyAdmin):
    date_hierarchy = "created_at"
    readonly_fields: tuple[str, ...] = ("user_name", "session", "turn")
    search_fields: tuple[str, ...] = (
        "tool",
        "call_id",
        "reason",
        "user_name",
        "id__exact",
        "turn_id__exact",
    )
    names: ClassVar[dict[str, str]] = {"user_name": "user_id"}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        named: QuerySet[Any] = rows.annotate(**{name: _named(column) for name, column in self.names.items()})
        return named

    @display(description="User", ordering="user_name")
    def user_name(self, row: Any) -> str:
        return row.user_name or str(row.user_id)

    @display(description="Session")
    def session(self, row: Any) -> str:
        return _link("admin:agent_sessions_session_change", row.session_id)

    @display(description="Turn")
    def turn(self, row: Any) -> str:
        return _link("admin:chat_turn_change", row.turn_id)


@admin.register(ToolDecision)
class ToolDecisionAdmin(_RecordAdmin):
    list_display = ("created_at", "user_name", "agent", "tool", "source", "effect_label", "reason")
    list_filter = (EffectFilter, ToolFilter, SourceFilter, "created_at")
    readonly_fields = (*_RecordAdmin.readonly_fields, "effect_label", "input_written", "call")
    fieldsets = (
        (None, {"fields": ("id", "created_at", "effect_label", "reason", "policy")}),
        ("Call", {"fields": ("tool", "source", "call_id", "call")}),
        ("Whose", {"fields": ("user_name", "agent", "session", "turn")}),
        ("What the policy was asked, with secrets masked", {"fields": ("input_written",)}),
    )

    @display(description="Effect", ordering="effect", label=EFFECT_COLOURS)
    def effect_label(self, decision: ToolDecision) -> str:
        return decision.effect

    @display(description="Input")
    def input_written(self, decision: ToolDecision) -> str:
        return _written(decision.input)

    @display(description="How the call ended")
    def call(self, decision: ToolDecision) -> str:
        """A call ends after it was judged: of a call outside of a turn only later rows are looked through."""
        calls = ToolCallRecord.objects.filter(call_id=decision.call_id)
        if decision.turn_id is None:
            calls = calls.filter(decision_id=decision.id, id__gte=decision.id)
        else:
            calls = calls.filter(turn_id=decision.turn_id)
        return _links(calls[:1], "admin:tools_toolcallrecord_change")


@admin.register(ToolCallRecord)
class ToolCallRecordAdmin(_RecordAdmin):
    list_display = (
        "created_at", "user_name", "agent", "tool", "source", "outcome_label", "answer", "answered_by_name",
        "taken",
    )  # fmt: skip
    list_filter = ("outcome", ToolFilter, SourceFilter, "answer", "created_at")
    readonly_fields = (
        *_RecordAdmin.readonly_fields, "outcome_label", "answered_by_name", "taken", "arguments_written",
        "decisions",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("id", "created_at", "tool", "source", "call_id", "outcome_label", "reason")}),
        ("Whose", {"fields": ("user_name", "agent", "session", "turn")}),
        ("Judged", {"fields": ("decisions", "answer", "answered_by_name", "edited")}),
        ("Run", {"fields": ("started_at", "taken", "result_characters", "result_digest")}),
        ("Arguments, with secrets masked", {"fields": ("arguments_written",)}),
    )
    names = _RecordAdmin.names | {"answerer": "answered_by"}

    @display(description="Outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def outcome_label(self, call: ToolCallRecord) -> str:
        return call.outcome

    @display(description="Answered by", ordering="answerer")
    def answered_by_name(self, call: Any) -> str:
        return call.answerer or str(call.answered_by or NOTHING)

    @display(description="Seconds", ordering="seconds")
    def taken(self, call: ToolCallRecord) -> str:
        return NOTHING if call.seconds is None else f"{call.seconds:.2f}"

    @display(description="Arguments")
    def arguments_written(self, call: ToolCallRecord) -> str:
        return _written(call.arguments)

    @display(description="Decisions")
    def decisions(self, call: ToolCallRecord) -> str:
        """Oldest first: a call that was approved has been judged again."""
        return _links(selectors.decisions_on(call), "admin:tools_tooldecision_change")
