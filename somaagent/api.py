"""The two HTTP APIs: ``/api/v1``, ours, with its document; ``/v1``, as clients of OpenAI's know it."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from apps.admin.audit_api import router as audit
from apps.admin.operating.agents_api import router as agents
from apps.admin.operating.budgets_api import router as budgets
from apps.admin.operating.platform_api import router as admin_platform
from apps.admin.operating.tenants_api import router as tenants
from apps.admin.operating.tools_api import router as admin_tools
from apps.admin.operating.turns_api import router as admin_turns
from apps.admin.operating.users_api import router as users
from apps.chat.api import router as chat
from apps.chat.approvals_api import router as approvals
from apps.chat.money.api import router as money
from apps.chat.openai_api import StrictJson
from apps.chat.openai_api import router as openai
from apps.chat.responses.api import router as responses
from apps.chat.schedules.api import router as schedules
from apps.chat.webhooks.api import router as webhooks
from apps.sessions.api import router as sessions
from apps.sessions.profiles_api import router as model_profiles
from somaagent import __version__, problems
from somaagent.people.api import router as people
from somaagent.web import openai_errors
from somaagent.web.answers import Json
from somaagent.web.health import router as health
from somaagent.web.security import Credential

PROBLEM = {"$ref": "#/components/schemas/Problem"}


class Api(NinjaAPI):
    """Ninja documents every answer as ``application/json``; problems have a type of their own."""

    def get_openapi_schema(self, **arguments: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**arguments)
        for operations in document["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    _say_problem(answer)
        return document


def _say_problem(answer: dict[str, Any]) -> None:
    content = answer.get("content", {})
    if content.get("application/json", {}).get("schema") == PROBLEM:
        answer["content"] = {"application/problem+json": content["application/json"]}


api = Api(
    title="SomaAgent",
    version=__version__,
    description="A self-hosted platform for AI agents. Errors are application/problem+json (RFC 9457).",
    urls_namespace="api-1",
    auth=Credential(),
    renderer=Json(),
)
# What is asked for most comes first: addresses are looked for one after the other.
api.add_router("/turns", chat)
api.add_router("", sessions)
api.add_router("", health, auth=None)
api.add_router("", agents)
api.add_router("", model_profiles)
api.add_router("", people)
api.add_router("", audit)
api.add_router("/admin/turns", admin_turns)
api.add_router("/admin", admin_tools)
api.add_router("/admin", admin_platform)
api.add_router("/admin/tenants", tenants)
api.add_router("/admin/users", users)
api.add_router("", budgets)
api.add_router("", approvals)
api.add_router("", money)
api.add_router("/webhooks", webhooks)
api.add_router("/schedules", schedules)
problems.install(api)

# OpenAI documents it, and their clients know it: it has no document here.
openai_api = NinjaAPI(
    title="SomaAgent, OpenAI-compatible",
    version=__version__,
    urls_namespace="openai-1",
    openapi_url=None,
    auth=Credential(),
    parser=StrictJson(),
)
openai_api.add_router("", openai)
openai_api.add_router("", responses)
openai_errors.install(openai_api)
