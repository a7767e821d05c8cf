"""What needs to know more than one app: agents, with the tools that there are."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import structlog
from django.apps import apps
from django.contrib import admin, messages
from django.http import HttpRequest

from apps.sessions.admin import AgentAdmin
from apps.tools.toolbox import tools_of
from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.tenancy.admin import operator_of
from somaagent.tenancy.audit import admin as audit  # noqa: F401 Django looks for an app's admin in its own module alone
from somaagent.tenancy.outbox import admin as outbox  # noqa: F401 as above

from .operating import admin as operating  # noqa: F401 as above
from .tools import by_source, unmatched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apps.tools.tool import Tool

logger = structlog.get_logger(__name__)


@admin.register(apps.get_model("agent_sessions", "Agent"))
class EquippedAgentAdmin(AgentAdmin):
    """Agents: the form tells the tools that there are, and after it is saved which names no tool has now."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        told = copy.deepcopy(form.base_fields["tools"])
        told.help_text = f"{_HELP} {_there(_tools(request))}"
        # The class is this request's own, its fields are not.
        form.base_fields = {**form.base_fields, "tools": told}
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        tools = _tools(request) if obj.tools else {}
        if tools is None:
            messages.warning(request, f"Whether there are tools of these names is not known now: {_AWAY}")
        elif strange := unmatched(obj.tools, tools):
            messages.warning(
                request,
                f"No tool is named {', '.join(strange)} now: the agent goes without until there is one.",
            )


_HELP = "The tools that it may use, one a line; * stands for any characters."
_AWAY = "Valkey, which keeps the lists of MCP servers, does not answer."


def _there(tools: Mapping[str, Tool] | None) -> str:
    if tools is None:
        return f"What there is, is not known now: {_AWAY}"
    return f"There are: {', '.join(by_source(tools))}."


def _tools(request: HttpRequest) -> Mapping[str, Tool] | None:
    """The tools of the operator's tenant; None while they are not known."""
    operator = operator_of(request)
    if operator is None:
        return {}
    try:
        return run_coroutine(tools_of(operator.tenant_id))
    except valkey.ERRORS as error:
        logger.warning("tools.not_known", reason=str(error))
        return None
